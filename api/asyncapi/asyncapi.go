// Package asyncapi describes the NATS door as an AsyncAPI 3 document: commands that are called or queued, queries that
// are asked, and events that can be followed. All of it comes from the domain's lists; nothing here knows a domain.
package asyncapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

const mediaType = "application/vnd.aai.asyncapi+json;version=3.0.0"

// Mounts are the routes that show a document made by Document.
func Mounts(document []byte) []rest.Mount {
	return []rest.Mount{{
		Method: http.MethodGet, Pattern: "/asyncapi.json", Operation: access.Public, Summary: "The NATS door as AsyncAPI 3",
		Doc: &rest.Doc{Tag: "operations", Answer: rest.Media(mediaType)},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Write(document) //nolint:errcheck // the client has gone; nobody is left to tell
		}),
	}}
}

type object = map[string]any

func ref(kind, name string) object { return object{"$ref": "#/" + kind + "/" + name} }

var security = []any{ref("components/securitySchemes", "user")}

type document struct {
	schemas    *schema.Registry
	channels   object
	operations object
	messages   object
	components object
	err        error
}

// Document describes a domain, deterministically. Permanent errors: a type without a JSON Schema.
func Document(d es.Domain, schemas *schema.Registry, version string) ([]byte, error) {
	doc := &document{schemas: schemas, channels: object{}, operations: object{}, messages: object{}, components: object{}}
	doc.shared()
	for _, a := range d.Aggregates {
		for _, c := range schemas.Commands(a.Category()) {
			doc.command(a, c)
		}
		doc.events(a, d.Events)
	}
	for _, q := range d.Queries {
		doc.query(q)
	}
	if doc.err != nil {
		return nil, fmt.Errorf("AsyncAPI document of %s: %w", d.Name, doc.err)
	}
	return json.Marshal(object{
		"asyncapi": "3.0.0",
		"info": object{"title": d.Name, "version": version, "description": "Commands are called (request and reply) or queued (stored, worked off in order), " +
			"queries are asked, events are followed, all over NATS. The same as HTTP: /openapi.json."},
		"defaultContentType": "application/json",
		"servers":            object{"nats": object{"host": "{host}", "protocol": "nats", "variables": object{"host": object{"default": "127.0.0.1:4222"}}}},
		"channels":           doc.channels,
		"operations":         doc.operations,
		"components": object{"messages": doc.messages, "schemas": doc.components, "securitySchemes": object{
			"user": object{"type": "userPassword", "description": "a user of the NATS servers, see nats.conf; in dev nobody is asked"},
		}},
	})
}

func (d *document) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *document) schemaOf(name string, t reflect.Type) {
	raw, err := schema.Of(t)
	if err != nil {
		d.fail(fmt.Errorf("%s: %w", name, err))
	}
	d.schema(name, raw)
}

// schema puts a JSON Schema among the components. AsyncAPI's own schema format is JSON Schema without the version mark.
func (d *document) schema(name string, raw json.RawMessage) {
	var s object
	if err := json.Unmarshal(raw, &s); err != nil {
		d.fail(fmt.Errorf("%s: %w", name, err))
	}
	delete(s, "$schema")
	d.components[name] = s
}

func text(description string) object { return object{"type": "string", "description": description} }

// shared adds what several messages have in common.
func (d *document) shared() {
	d.schemaOf("Reply", reflect.TypeFor[es.Reply]())
	d.schemaOf("Problem", reflect.TypeFor[es.Problem]())
	id := object{"type": "string", "pattern": `^[A-Za-z0-9_-]{1,64}$`}
	d.components["CommandHeaders"] = object{"type": "object", "properties": object{
		runtime.HeaderCommandID:   object{"allOf": []any{id}, "description": "the command's id, made up when absent: sent again, the command takes effect once"},
		runtime.HeaderCorrelation: text("carried on to the events"),
		runtime.HeaderCausation:   text("carried on to the events"),
		runtime.HeaderExpected:    object{"type": "string", "pattern": "^[0-9]+$", "description": "the version that the caller decided on: another one is a conflict"},
		runtime.HeaderTraceparent: text("W3C Trace Context, carried on to the events"),
	}}
	d.components["ErrorHeaders"] = object{"type": "object", "properties": object{
		"Nats-Service-Error":      text("what went wrong; absent when nothing did"),
		"Nats-Service-Error-Code": text("its code, that of HTTP"),
	}}
	d.components["EventHeaders"] = object{"type": "object", "required": []string{"ce-specversion", "ce-id", "ce-type"}, "properties": object{
		"ce-specversion":   object{"const": "1.0"},
		"ce-id":            text("<command id>/<n>, unique within the stream"),
		"ce-type":          text("the event's type; absent when the message is a batch of several events of one command"),
		"ce-source":        text("the domain"),
		"ce-subject":       text("<category>/<id>"),
		"ce-time":          object{"type": "string", "format": "date-time"},
		"ce-eventversion":  text("version of the event's schema"),
		"ce-version":       text("1, 2, 3 … within the stream"),
		"ce-correlationid": text("of the story that the event is part of"),
		"ce-causationid":   text("what caused it"),
		"ce-userid":        text("who"),
	}}
	d.messages["Reply"] = object{"title": "A command's reply", "headers": ref("components/schemas", "ErrorHeaders"), "payload": ref("components/schemas", "Reply")}
	d.channels["inbox"] = object{"title": "Where the caller waits", "messages": object{"Reply": ref("components/messages", "Reply")}}
}

// idParameter is the aggregate's id in a subject.
func idParameter(a es.Aggregate) object {
	return object{"id": object{"description": "the aggregate's id, [A-Za-z0-9_-]{1,64}", "examples": []string{a.ExampleID()}}}
}

// operation adds one thing to do on a channel of one message.
func (d *document) operation(name, action, summary, message string, answer object) {
	op := object{"action": action, "summary": summary, "security": security, "channel": ref("channels", name), "messages": []any{ref("channels/"+name+"/messages", message)}}
	for k, v := range answer {
		op[k] = v
	}
	d.operations[name] = op
}

// answered is what makes an operation request and reply.
func answered(message string) object {
	return object{
		"bindings": object{"nats": object{"queue": runtime.CallQueue}},
		"reply":    object{"channel": ref("channels", "inbox"), "messages": []any{ref("channels/inbox/messages", message)}},
	}
}

func (d *document) command(a es.Aggregate, c *schema.Command) {
	name := a.Category() + "." + c.Type
	d.schema(name, c.Schema)
	d.messages[name] = object{
		"name": c.Type, "title": c.Type, "headers": ref("components/schemas", "CommandHeaders"), "payload": ref("components/schemas", name),
		"examples": []any{object{"payload": c.Example}},
	}
	only := ""
	if c.Internal {
		only = ", which sagas do: of callers, only those who may override them"
	}
	for _, way := range []struct {
		prefix, summary string
		answer          object
	}{
		{"call", "Execute it and wait for the reply", answered("Reply")},
		{"commands", "Queue it (publish with JetStream's acknowledgement); the reply stands on outcomes." + a.Category() + ".<id>.<command id> for a day", nil},
	} {
		channel := way.prefix + "." + name
		d.channels[channel] = object{
			"address":    way.prefix + "." + a.Category() + ".{id}." + c.Type,
			"parameters": idParameter(a),
			"messages":   object{c.Type: ref("components/messages", name)},
		}
		d.operation(channel, "receive", way.summary+only, c.Type, way.answer)
	}
}

func (d *document) events(a es.Aggregate, all []es.EventDef) {
	channel := "events." + a.Category()
	messages, list := object{}, []any{}
	for _, e := range all {
		if !e.Go.Implements(a.EventType()) {
			continue
		}
		name := "event." + e.Type
		raw, err := d.schemas.EventSchema(e.Type, 0)
		if err != nil {
			d.fail(err)
			continue
		}
		d.schema(name, raw)
		d.messages[name] = object{"name": e.Type, "title": e.Type, "headers": ref("components/schemas", "EventHeaders"), "payload": ref("components/schemas", name)}
		messages[e.Type] = ref("components/messages", name)
		list = append(list, ref("channels/"+channel+"/messages", e.Type))
	}
	d.channels[channel] = object{"address": channel + ".{id}", "parameters": idParameter(a), "messages": messages}
	d.operations[channel] = object{
		"action": "send", "security": security, "channel": ref("channels", channel), "messages": list,
		"summary": "What happened, as CloudEvents: one message a command, in binary mode, or as application/cloudevents-batch+json when it decided several events",
	}
}

func (d *document) query(q es.QueryDef) {
	channel := "queries." + q.QueryName()
	d.schemaOf(channel+".parameters", q.Params())
	d.schemaOf(channel+".answer", q.Result())
	d.messages[channel] = object{"title": q.QueryName(), "payload": ref("components/schemas", channel+".parameters")}
	answer := q.QueryName() + ".answer"
	d.messages[answer] = object{"title": "Answer of " + q.QueryName(), "headers": ref("components/schemas", "ErrorHeaders"),
		"payload": object{"oneOf": []any{ref("components/schemas", channel+".answer"), ref("components/schemas", "Problem")}}}
	d.channels["inbox"].(object)["messages"].(object)[answer] = ref("components/messages", answer)
	d.channels[channel] = object{"address": channel, "messages": object{"parameters": ref("components/messages", channel)}}
	d.operation(channel, "receive", q.QuerySummary(), "parameters", answered(answer))
}
