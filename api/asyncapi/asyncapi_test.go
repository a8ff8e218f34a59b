package asyncapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/api/asyncapi"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

type lampEvent interface {
	es.Event
	ofLamp()
}

type lampLit struct {
	By string `json:"by"`
}

func (lampLit) EventType() string { return "LampLit" }
func (lampLit) ofLamp()           {}

type otherHappened struct{}

func (otherHappened) EventType() string { return "OtherHappened" }

type lampCommand interface {
	es.Command
	toLamp()
}

type light struct {
	By string `json:"by" jsonschema:"example=Ada"`
}

func (light) CommandType() string { return "Light" }
func (light) toLamp()             {}

type lamp struct{}

func (lamp) Decide(lampCommand, es.Meta) ([]lampEvent, error) { return nil, nil }
func (lamp) Evolve(lampEvent) lamp                            { return lamp{} }

type lampParams struct {
	ID string `json:"id"`
}

func document(t *testing.T) map[string]any {
	t.Helper()
	all := es.Interest{Handles: []es.Event{lampLit{}, otherHappened{}}}
	d := es.Domain{
		Name:       "lamps",
		Events:     []es.EventDef{es.EventOf[lampLit](1), es.EventOf[otherHappened](1)},
		Aggregates: []es.Aggregate{es.Define[lamp]("lamp", light{})},
		Projectors: []es.Projector{{Name: "lamps", Interest: all}},
		Queries:    []es.QueryDef{es.Query[lampParams, lampLit]{Name: "lampById", Path: "/lamps/{id}", Summary: "One lamp", Projector: "lamps"}},
	}
	schemas, err := schema.New(d)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := asyncapi.Document(d, schemas, "1")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func at(v any, keys ...string) any {
	for _, k := range keys {
		o, _ := v.(map[string]any)
		v = o[k]
	}
	return v
}

func TestEveryCommandEventAndQueryHasItsChannel(t *testing.T) {
	t.Parallel()
	doc := document(t)
	for channel, address := range map[string]string{
		"call.lamp.Light":     "call.lamp.{id}.Light",
		"commands.lamp.Light": "commands.lamp.{id}.Light",
		"events.lamp":         "events.lamp.{id}",
		"queries.lampById":    "queries.lampById",
	} {
		if got := at(doc, "channels", channel, "address"); got != address {
			t.Errorf("channel %s: address %v, want %s", channel, got, address)
		}
		if got := at(doc, "operations", channel, "channel", "$ref"); got != "#/channels/"+channel {
			t.Errorf("operation %s is on %v", channel, got)
		}
	}
	messages, _ := at(doc, "channels", "events.lamp", "messages").(map[string]any)
	if len(messages) != 1 || messages["LampLit"] == nil {
		t.Errorf("the events of a lamp: %v", messages)
	}
	if at(doc, "components", "schemas", "lamp.Light", "properties", "by", "type") != "string" {
		t.Errorf("the body of Light: %v", at(doc, "components", "schemas", "lamp.Light"))
	}
}

func TestReferencesLeadSomewhere(t *testing.T) {
	t.Parallel()
	doc := document(t)
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if path, ok := strings.CutPrefix(ref, "#/"); !ok || at(doc, strings.Split(path, "/")...) == nil {
					t.Errorf("%s: %s leads nowhere", where, ref)
				}
			}
			for k, member := range v {
				walk(where+"/"+k, member)
			}
		case []any:
			for i, member := range v {
				walk(fmt.Sprint(where, "/", i), member)
			}
		}
	}
	walk("#", doc)
}
