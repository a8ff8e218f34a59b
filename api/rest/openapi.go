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
		Servers:  []*huma.Server{{URL: "/"}},
		Security: []map[string][]string{{"bearer": {}}, {"apiKey": {}}},
		Components: &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{
			"bearer": {Type: "http", Scheme: "bearer", Description: "an API key or a JWT; `dev` asks for none"},
			"apiKey": {Type: "apiKey", In: "header", Name: "X-API-Key"},
		}},
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
func (d *Door) component(name string, s *huma.Schema) *huma.Schema {
	d.api.OpenAPI().Components.Schemas.Map()[name] = s
	return &huma.Schema{Ref: schemas + name}
}

func (d *Door) componentOf(name string, t reflect.Type) (*huma.Schema, error) {
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
func (d *Door) addComponents() error {
	if _, err := d.componentOf("Reply", reflect.TypeFor[es.Reply]()); err != nil {
		return err
	}
	if _, err := d.componentOf("Queued", reflect.TypeFor[runtime.Queued]()); err != nil {
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
	c.Responses = map[string]*huma.Response{
		"NotModified": {Description: "the caller has this answer", Headers: headerRefs("ETag", "Millstream-Revision")},
		"Pending": {Description: "the command is in the queue: look at Location later", Content: content("application/json", &huma.Schema{Ref: schemas + "Queued"}),
			Headers: headerRefs("Location", "Retry-After", "Preference-Applied")},
	}
	for _, status := range commandErrors {
		body := refused
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests: // the command was not looked at
			body = wrong
		case http.StatusInternalServerError: // the engine's answer, or none of the engine's
			body = &huma.Schema{AnyOf: []*huma.Schema{refused, wrong}}
		}
		c.Responses["Command"+strconv.Itoa(status)] = refusal(status, body)
	}
	for _, status := range queryErrors {
		c.Responses["Query"+strconv.Itoa(status)] = refusal(status, wrong)
	}
	c.Parameters = sharedParameters()
	c.Headers = sharedHeaders()
	return nil
}

// refusal describes an answer that is a problem.
func refusal(status int, body *huma.Schema) *huma.Response {
	r := &huma.Response{Description: http.StatusText(status), Content: content("application/problem+json", body), Headers: headerRefs(headerRequestID)}
	switch status {
	case http.StatusUnauthorized:
		r.Headers = headerRefs(headerRequestID, "WWW-Authenticate")
	case http.StatusTooManyRequests:
		r.Headers = headerRefs(headerRequestID, "Retry-After", "RateLimit", "RateLimit-Policy")
	case http.StatusServiceUnavailable:
		r.Headers = headerRefs(headerRequestID, "Retry-After")
	}
	return r
}

func sharedParameters() map[string]*huma.Param {
	text := &huma.Schema{Type: "string"}
	id := func(name, description string) *huma.Param {
		return &huma.Param{Name: name, In: "path", Required: true, Description: description, Schema: idSchema()}
	}
	header := func(name, description string, s *huma.Schema) *huma.Param {
		return &huma.Param{Name: name, In: "header", Description: description, Schema: s}
	}
	return map[string]*huma.Param{
		"id":        id("id", "the aggregate's id"),
		"category":  id("category", "the aggregate's category"),
		"commandId": id("commandId", "the command's id"),
		"IdempotencyKey": header("Idempotency-Key", "the command's id, made up when absent: sent again, the command takes effect once and gets the same answer; "+
			"it must not begin with "+es.EnginePrefix, idSchema()),
		"IfMatch": header("If-Match", "the version that the caller decided on, in double quotes, or the ETag of an answer about the aggregate, which begins with it: "+
			"412 when the aggregate is at another", &huma.Schema{Type: "string", Pattern: `^"[0-9]+(\.[A-Za-z0-9_-]*)?(-gzip)?"$`}),
		"IfNoneAtAll": header("If-None-Match", "the aggregate must not be there yet: 412 when it is", &huma.Schema{Type: "string", Enum: []any{"*"}}),
		"IfNoneMatch": header("If-None-Match", "the ETag of an answer the caller has: 304 when it is still the same", text),
		"Prefer": header("Prefer", "`respond-async`: put the command into the queue and answer 202; `wait=N`: the same, but wait up to N seconds for the reply",
			text),
		"PreferWait":         header("Prefer", "`wait=N`: wait up to N seconds for the reply", text),
		"CorrelationId":      header("Correlation-Id", "carried on to the events", text),
		"CausationId":        header("Causation-Id", "carried on to the events", text),
		"traceparent":        header("traceparent", "W3C Trace Context, carried on to the events; its trace id stands in problems", text),
		"XRequestId":         header(headerRequestID, "names the request in the log, and is repeated in the answer; made up when absent", text),
		"MillstreamRevision": header("Millstream-Revision", "as minRevision; the greater of the two counts", countSchema()),
		"minRevision": {Name: "minRevision", In: "query", Schema: countSchema(),
			Description: "answer from a read model that has reached this revision, or 503"},
		"asOf": {Name: "asOf", In: "query", Schema: text, Example: "2026-01-31T12:00:00Z",
			Description: "a revision or an RFC 3339 time: the aggregate as it was then, folded from the log; without the other parameters"},
	}
}

func sharedHeaders() map[string]*huma.Header {
	text := &huma.Schema{Type: "string"}
	return map[string]*huma.Header{
		"ETag": {Description: "of a command's answer the aggregate's version, like \"3\"; of other answers a hash of the whole, behind the version and a point: " +
			"either may be handed in as If-Match", Schema: text},
		"Millstream-Revision": {Description: "the revision of the log that the answer stands on", Schema: countSchema()},
		"Link":                {Description: "the next page of the list, with rel=\"next\"; absent: it was the last", Schema: text},
		"Location":            {Description: "where the reply will be found, for a day", Schema: &huma.Schema{Type: "string", Format: "uri-reference"}},
		"Preference-Applied":  {Description: "what of Prefer was heeded; a wait may be shorter than asked for", Schema: text},
		"Retry-After":         {Description: "seconds to wait", Schema: countSchema()},
		"RateLimit":           {Description: "how many requests are left (r) and when all are again (t, seconds)", Schema: text},
		"RateLimit-Policy":    {Description: "how many requests (q) may come in how many seconds (w)", Schema: text},
		"WWW-Authenticate":    {Description: "how to say who is calling", Schema: text},
		headerRequestID:       {Description: "names the request in the log", Schema: text},
	}
}

func idSchema() *huma.Schema { return &huma.Schema{Type: "string", Pattern: `^[A-Za-z0-9_-]{1,64}$`} }

func countSchema() *huma.Schema { return &huma.Schema{Type: "integer", Minimum: new(float64)} }

// The statuses that operations may answer with besides 200.
var (
	commandErrors = []int{400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 500, 503}
	queryErrors   = []int{400, 401, 403, 404, 422, 429, 500, 503}
)

func headerRefs(names ...string) map[string]*huma.Header {
	all := map[string]*huma.Header{}
	for _, name := range names {
		all[name] = &huma.Header{Extensions: map[string]any{"$ref": headers + name}}
	}
	return all
}

func answers(kind string, errors []int, ok *huma.Schema, headers ...string) map[string]*huma.Response {
	all := map[string]*huma.Response{"200": {
		Description: http.StatusText(http.StatusOK),
		Headers:     headerRefs(append(headers, "ETag", "Millstream-Revision", headerRequestID)...),
		Content:     content("application/json", ok),
	}}
	for _, status := range errors {
		all[strconv.Itoa(status)] = &huma.Response{Ref: responses + kind + strconv.Itoa(status)}
	}
	if kind == "Query" {
		all["304"] = &huma.Response{Ref: responses + "NotModified"}
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

func (d *Door) commandOperation(a es.Aggregate, c *schema.Command) (*huma.Operation, error) {
	s, err := inline(c.Schema)
	if err != nil {
		return nil, err
	}
	_, required := s.Extensions["required"] // without required fields, no body stands for {}
	media := content("application/json", d.component(a.Category()+"."+c.Type, s))
	media["application/json"].Example = c.Example
	op := &huma.Operation{
		Method:      http.MethodPost,
		Path:        CommandPath(a, c.Type),
		OperationID: a.Category() + "-" + kebab(c.Type),
		Summary:     c.Type,
		Tags:        []string{d.tag(a.Collection())},
		Parameters:  refs("id", "IdempotencyKey", "IfMatch", "IfNoneAtAll", "Prefer", "CorrelationId", "CausationId", "traceparent", "XRequestId"),
		RequestBody: &huma.RequestBody{Required: required, Content: media},
		Responses:   answers("Command", commandErrors, &huma.Schema{Ref: schemas + "Reply"}, "Preference-Applied"),
	}
	op.Responses["202"] = &huma.Response{Ref: responses + "Pending"}
	return op, nil
}

// outcomeOperation describes where the reply to a queued command is found.
func (d *Door) outcomeOperation() *huma.Operation {
	op := &huma.Operation{
		Method:      http.MethodGet,
		Path:        "/commands/{category}/{id}/{commandId}",
		OperationID: "command-outcome",
		Summary:     "What became of a queued command: 202 while it is pending, then its reply",
		Tags:        []string{d.tag("commands")},
		Parameters:  refs("category", "id", "commandId", "PreferWait", "IfNoneMatch", "XRequestId"),
		Responses:   answers("Query", queryErrors, &huma.Schema{Ref: schemas + "Reply"}),
	}
	op.Responses["202"] = &huma.Response{Ref: responses + "Pending"}
	return op
}

// queryOperation describes a query; a is the aggregate whose states share its path, or nil.
func (d *Door) queryOperation(q es.QueryDef, params *params, a es.Aggregate) (*huma.Operation, error) {
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
	op.Parameters = append(op.Parameters, refs("minRevision", "MillstreamRevision", "IfNoneMatch", "XRequestId")...)
	if a != nil {
		state, err := d.stateSchema(a)
		if err != nil {
			return nil, err
		}
		op.Parameters = append(op.Parameters, refs("asOf")...)
		answer = &huma.Schema{AnyOf: []*huma.Schema{answer, state}}
	}
	op.Responses = answers("Query", queryErrors, answer)
	if params.next != nil {
		op.Responses["200"].Headers["Link"] = headerRefs("Link")["Link"]
	}
	return op, nil
}

func (d *Door) stateOperation(a es.Aggregate) (*huma.Operation, error) {
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
		Parameters:  refs("id", "asOf", "IfNoneMatch", "XRequestId"),
		Responses:   answers("Query", queryErrors, state),
	}, nil
}

// stateSchema is that of runtime.StateAt with the aggregate's own state in it.
func (d *Door) stateSchema(a es.Aggregate) (*huma.Schema, error) {
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
func (d *Door) queryTag(q es.QueryDef) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(q.QueryPath(), "/"), "/")
	for _, a := range d.domain.Aggregates {
		if a.Collection() == first {
			return d.tag(first)
		}
	}
	return d.tag(q.ProjectorName())
}

// tag declares a tag once.
func (d *Door) tag(name string) string {
	doc := d.api.OpenAPI()
	for _, t := range doc.Tags {
		if t.Name == name {
			return name
		}
	}
	doc.Tags = append(doc.Tags, &huma.Tag{Name: name})
	return name
}
