package rest

import (
	"cmp"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es/schema"
)

// Doc describes a route of another door in the OpenAPI document.
type Doc struct {
	Tag         string
	Description string  // what the summary leaves out
	Params      []Param // of the query string
	// Body and Answer are values of the types whose JSON is read and answered; nil: none. Answer may be a Media.
	Body, Answer any
	Status       int   // of the answer; default 200
	Same         []int // statuses of refusals that look like the answer
	Errors       []int // statuses of problems; default: those of its method and operation
}

// Param is a parameter of the query string.
type Param struct{ Name, Description string }

// Media is the content type of an answer that is no JSON.
type Media string

// limitParam is the one parameter that is a number.
const limitParam = "limit"

// addMountDocs puts the other doors into the document.
func (d *Door) addMountDocs() error {
	for _, m := range d.opts.Mounts {
		if m.Doc == nil {
			continue
		}
		if err := d.describeRoute(m.Method, m.Pattern, m.Summary, m.Operation, *m.Doc); err != nil {
			return err
		}
	}
	return nil
}

var inBraces = regexp.MustCompile(`\{(\w+)\}`)

// describeRoute puts a route into the document that is not generated from the lists.
func (d *Door) describeRoute(method, path, summary string, asks access.Operation, doc Doc) error {
	op := &huma.Operation{
		Method: method, Path: path, Summary: summary, Description: doc.Description, Tags: []string{d.tag(doc.Tag)},
		OperationID: strings.ToLower(method) + strings.NewReplacer("/", "-", "{", "", "}", "", ".", "-").Replace(path),
		Extensions:  map[string]any{"x-access": asks},
		Responses:   map[string]*huma.Response{},
	}
	for _, name := range inBraces.FindAllStringSubmatch(path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name[1], In: "path", Required: true, Schema: d.pathSchema(name[1])})
	}
	for _, p := range doc.Params {
		s := &huma.Schema{Type: "string"}
		if p.Name == limitParam {
			s = countSchema()
		}
		op.Parameters = append(op.Parameters, &huma.Param{Name: p.Name, In: "query", Description: p.Description, Schema: s})
	}
	op.Parameters = append(op.Parameters, refs("XRequestId")...)
	if doc.Body != nil {
		body, err := schemaOf(path, doc.Body)
		if err != nil {
			return err
		}
		op.RequestBody = &huma.RequestBody{Content: content("application/json", body)}
	}
	if asks == access.Public {
		op.Security = []map[string][]string{}
	}
	if err := d.addResponses(op, doc, asks); err != nil {
		return err
	}
	d.api.OpenAPI().AddOperation(op)
	return nil
}

func (d *Door) addResponses(op *huma.Operation, doc Doc, asks access.Operation) error {
	status := cmp.Or(doc.Status, http.StatusOK)
	answer := &huma.Response{Description: http.StatusText(status), Headers: headerRefs(headerRequestID)}
	switch a := doc.Answer.(type) {
	case nil:
	case Media:
		answer.Content = content(string(a), &huma.Schema{Type: "string"})
	default:
		s, err := schemaOf(op.Path, a)
		if err != nil {
			return err
		}
		answer.Content = content("application/json", s)
	}
	op.Responses[strconv.Itoa(status)] = answer
	if status == http.StatusSwitchingProtocols { // no status of success follows
		op.Responses["default"] = &huma.Response{Description: "The connection was refused", Content: content("application/problem+json", &huma.Schema{Ref: schemas + "Problem"})}
	}
	for _, same := range doc.Same {
		op.Responses[strconv.Itoa(same)] = &huma.Response{Description: http.StatusText(same), Headers: answer.Headers, Content: answer.Content}
	}
	errors := doc.Errors
	switch {
	case errors != nil:
	case asks == access.Public:
		errors = []int{429}
	case op.Method == http.MethodGet:
		errors = []int{400, 401, 403, 404, 429, 500, 503}
	default:
		errors = []int{400, 401, 403, 404, 409, 413, 422, 429, 500, 503}
	}
	shared := d.api.OpenAPI().Components.Responses
	for _, status := range errors {
		name := "Query" + strconv.Itoa(status)
		if shared[name] == nil {
			shared[name] = refusal(status, &huma.Schema{Ref: schemas + "Problem"})
		}
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: responses + name}
	}
	return nil
}

// pathSchema is that of a wildcard: what the domain's lists know, else an id.
func (d *Door) pathSchema(name string) *huma.Schema {
	s := idSchema()
	known := []any{}
	switch name {
	case "collection":
		for _, a := range d.domain.Aggregates {
			known = append(known, a.Collection())
		}
	case "name":
		for _, p := range d.domain.Projectors {
			known = append(known, p.Name)
		}
	case "saga":
		for _, saga := range d.domain.Sagas {
			known = append(known, saga.Name())
		}
	}
	if len(known) > 0 {
		s.Pattern, s.Enum = "", known
	}
	return s
}

func schemaOf(path string, value any) (*huma.Schema, error) {
	raw, err := schema.Of(reflect.TypeOf(value))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return inline(raw)
}
