package rest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

func apiConfig(name, version string) huma.Config {
	return huma.Config{OpenAPI: &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: name, Version: version, Description: "Commands are POSTed to one aggregate and answered with an outcome; " +
			"queries are GET and read models follow the log: name the revision of a command's answer in `minRevision` to read your own write."},
		Servers:    []*huma.Server{{URL: "/"}},
		Security:   []map[string][]string{},
		Components: &huma.Components{},
	}}
}

const (
	schemas    = "#/components/schemas/"
	parameters = "#/components/parameters/"
	headers    = "#/components/headers/"
	responses  = "#/components/responses/"
)

// inline carries a JSON Schema into the document as it is.
func inline(raw json.RawMessage) (*huma.Schema, error) {
	s := &huma.Schema{}
	if err := unmarshal(raw, &s.Extensions); err != nil {
		return nil, fmt.Errorf("JSON Schema %s: %w", clip(string(raw)), err)
	}
	delete(s.Extensions, "$schema")
	return s, nil
}

// component puts a schema among the document's components and returns a reference to it.
func (d *door) component(name string, s *huma.Schema) *huma.Schema {
	d.api.OpenAPI().Components.Schemas.Map()[name] = s
	return &huma.Schema{Ref: schemas + name}
}

func (d *door) componentOf(name string, t reflect.Type) (*huma.Schema, error) {
	raw, err := schema.Of(t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s, err := inline(raw)
	if err != nil {
		return nil, err
	}
	return d.component(name, s), nil
}

func content(contentType string, s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{contentType: {Schema: s}}
}

// addComponents adds what operations share.
func (d *door) addComponents() error {
	if _, err := d.componentOf("Reply", reflect.TypeFor[es.Reply]()); err != nil {
		return err
	}
	refused, err := d.componentOf("CommandProblem", reflect.TypeFor[commandProblem]())
	if err != nil {
		return err
	}
	wrong, err := d.componentOf("Problem", reflect.TypeFor[problem]())
	if err != nil {
		return err
	}
	c := d.api.OpenAPI().Components
	c.Responses = map[string]*huma.Response{}
	for _, status := range commandErrors {
		body := refused
		switch status {
		case http.StatusForbidden: // the command was not looked at
			body = wrong
		case http.StatusInternalServerError: // the engine's answer, or none of the engine's
			body = &huma.Schema{AnyOf: []*huma.Schema{refused, wrong}}
		}
		c.Responses["Command"+strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: content("application/problem+json", body)}
	}
	for _, status := range queryErrors {
		c.Responses["Query"+strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: content("application/problem+json", wrong)}
	}
	text := &huma.Schema{Type: "string"}
	count := &huma.Schema{Type: "integer", Minimum: new(float64)}
	header := func(name, description string, s *huma.Schema) *huma.Param {
		return &huma.Param{Name: name, In: "header", Description: description, Schema: s}
	}
	c.Parameters = map[string]*huma.Param{
		"id": {Name: "id", In: "path", Required: true, Description: "the aggregate's id", Schema: idSchema()},
		"IdempotencyKey": header("Idempotency-Key", "the command's id, made up when absent: sent again, the command takes effect once and gets the same answer; "+
			"it must not begin with "+es.EnginePrefix, idSchema()),
		"IfMatch":       header("If-Match", "the version that the caller decided on, in double quotes: another one is a conflict", &huma.Schema{Type: "string", Pattern: `^"[0-9]+"$`}),
		"IfNoneMatch":   header("If-None-Match", "the ETag of an answer the caller has: 304 when it is still the same", text),
		"CorrelationId": header("Correlation-Id", "carried on to the events", text),
		"CausationId":   header("Causation-Id", "carried on to the events", text),
		"traceparent":   header("traceparent", "W3C Trace Context, carried on to the events", text),
		"minRevision": {Name: "minRevision", In: "query", Schema: count,
			Description: "answer from a read model that has reached this revision, or 503; the header Millstream-Revision does the same"},
		"asOf": {Name: "asOf", In: "query", Schema: text, Example: "2026-01-31T12:00:00Z",
			Description: "a revision or an RFC 3339 time: the aggregate as it was then, folded from the log; without the other parameters"},
	}
	c.Headers = map[string]*huma.Header{
		"ETag":               {Description: "the aggregate's version, in double quotes", Schema: text},
		"MillstreamRevision": {Description: "the revision of the log that the answer stands on", Schema: count},
	}
	return nil
}

func idSchema() *huma.Schema { return &huma.Schema{Type: "string", Pattern: `^[A-Za-z0-9_-]{1,64}$`} }

// The statuses that operations may answer with besides 200.
var (
	commandErrors = []int{400, 403, 404, 409, 413, 422, 500, 503}
	queryErrors   = []int{400, 404, 422, 500, 503}
)

func answers(kind string, errors []int, ok *huma.Schema) map[string]*huma.Response {
	all := map[string]*huma.Response{"200": {
		Description: http.StatusText(http.StatusOK),
		Headers: map[string]*huma.Header{
			"ETag":                {Extensions: map[string]any{"$ref": headers + "ETag"}},
			"Millstream-Revision": {Extensions: map[string]any{"$ref": headers + "MillstreamRevision"}},
		},
		Content: content("application/json", ok),
	}}
	for _, status := range errors {
		all[strconv.Itoa(status)] = &huma.Response{Ref: responses + kind + strconv.Itoa(status)}
	}
	if kind == "Query" {
		all["304"] = &huma.Response{Description: http.StatusText(http.StatusNotModified)}
	}
	return all
}

func refs(names ...string) []*huma.Param {
	list := make([]*huma.Param, len(names))
	for i, name := range names {
		list[i] = &huma.Param{Ref: parameters + name}
	}
	return list
}

func (d *door) commandOperation(a es.Aggregate, c *schema.Command) (*huma.Operation, error) {
	s, err := inline(c.Schema)
	if err != nil {
		return nil, err
	}
	_, required := s.Extensions["required"] // without required fields, no body stands for {}
	media := content("application/json", d.component(a.Category()+"."+c.Type, s))
	media["application/json"].Example = c.Example
	return &huma.Operation{
		Method:      http.MethodPost,
		Path:        "/" + a.Collection() + "/{id}/" + kebab(c.Type),
		OperationID: a.Category() + "-" + kebab(c.Type),
		Summary:     c.Type,
		Tags:        []string{d.tag(a.Collection())},
		Parameters:  refs("id", "IdempotencyKey", "IfMatch", "CorrelationId", "CausationId", "traceparent"),
		RequestBody: &huma.RequestBody{Required: required, Content: media},
		Responses:   answers("Command", commandErrors, &huma.Schema{Ref: schemas + "Reply"}),
	}, nil
}

// queryOperation describes a query; a is the aggregate whose states share its path, or nil.
func (d *door) queryOperation(q es.QueryDef, params *params, a es.Aggregate) (*huma.Operation, error) {
	answer, err := d.componentOf("query."+q.QueryName(), q.Result())
	if err != nil {
		return nil, err
	}
	op := &huma.Operation{
		Method:      http.MethodGet,
		Path:        q.QueryPath(),
		OperationID: q.QueryName(),
		Summary:     cmp.Or(q.QuerySummary(), q.QueryName()),
		Tags:        []string{d.queryTag(q)},
	}
	for _, p := range params.list {
		in := "query"
		if p.inPath {
			in = "path"
		}
		op.Parameters = append(op.Parameters, &huma.Param{Name: p.name, In: in, Required: p.inPath, Schema: &huma.Schema{Extensions: p.schema}})
	}
	op.Parameters = append(op.Parameters, refs("minRevision", "IfNoneMatch")...)
	if a != nil {
		state, err := d.stateSchema(a)
		if err != nil {
			return nil, err
		}
		op.Parameters = append(op.Parameters, refs("asOf")...)
		answer = &huma.Schema{AnyOf: []*huma.Schema{answer, state}}
	}
	op.Responses = answers("Query", queryErrors, answer)
	return op, nil
}

func (d *door) stateOperation(a es.Aggregate) (*huma.Operation, error) {
	state, err := d.stateSchema(a)
	if err != nil {
		return nil, err
	}
	return &huma.Operation{
		Method:      http.MethodGet,
		Path:        "/" + a.Collection() + "/{id}",
		OperationID: a.Category() + "-state",
		Summary:     "The " + a.Category() + " folded from the log, as it is or as it was",
		Tags:        []string{d.tag(a.Collection())},
		Parameters:  refs("id", "asOf", "IfNoneMatch"),
		Responses:   answers("Query", queryErrors, state),
	}, nil
}

// stateSchema is that of runtime.StateAt with the aggregate's own state in it.
func (d *door) stateSchema(a es.Aggregate) (*huma.Schema, error) {
	name := a.Category() + ".StateAt"
	raw, err := schema.Of(reflect.TypeFor[runtime.StateAt]())
	if err != nil {
		return nil, err
	}
	s, err := inline(raw)
	if err != nil {
		return nil, err
	}
	properties, ok := s.Extensions["properties"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the schema of StateAt has no properties: %s", raw)
	}
	if properties["state"], err = d.componentOf(a.Category()+".State", a.StateType()); err != nil {
		return nil, err
	}
	return d.component(name, s), nil
}

// queryTag groups a query with the collection that its path begins with, else with its read model.
func (d *door) queryTag(q es.QueryDef) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(q.QueryPath(), "/"), "/")
	for _, a := range d.domain.Aggregates {
		if a.Collection() == first {
			return d.tag(first)
		}
	}
	return d.tag(q.ProjectorName())
}

// tag declares a tag once.
func (d *door) tag(name string) string {
	doc := d.api.OpenAPI()
	for _, t := range doc.Tags {
		if t.Name == name {
			return name
		}
	}
	doc.Tags = append(doc.Tags, &huma.Tag{Name: name})
	return name
}
