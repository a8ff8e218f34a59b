package cli

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/api/graphql"
	"github.com/millstream-es/millstream/es/runtime"
)

// undocumented are the routes that the OpenAPI document leaves out, each with the reason.
var undocumented = map[string]string{
	"GET /{$}":                       "the list of routes, for people",
	"GET /docs":                      "a page that shows the document",
	"GET /docs/{$}":                  "the same page",
	"GET /docs/{file}":               "a part of that page",
	"GET /console":                   "a page",
	"GET /console/{page...}":         "a page",
	"GET /console/assets/{file}":     "a part of a page",
	"GET /graphql/playground":        "a page, in dev alone",
	"GET /graphql/playground/{file}": "a part of a page",
}

// document is what a process says of its HTTP door.
func (s *served) document(t *testing.T) []byte {
	t.Helper()
	answer, err := http.Get(s.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEveryRouteIsInTheOpenAPIDocument(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	served := s.document(t)
	var document struct {
		Paths map[string]map[string]struct {
			Access string `json:"x-access"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(served, &document); err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for name := range undocumented {
		left[name] = true
	}
	described := 0
	for _, r := range s.routes {
		name := r.Method + " " + r.Path
		op, ok := document.Paths[r.Path][strings.ToLower(r.Method)]
		delete(left, name)
		switch reason := undocumented[name]; {
		case ok == (reason != ""):
			t.Errorf("%s is in the document: %t; the reason to leave it out: %q", name, ok, reason)
		case ok && op.Access != string(r.Operation):
			t.Errorf("%s asks for %s, and the document says %q", name, r.Operation, op.Access)
		case ok:
			described++
		}
	}
	for name := range left {
		t.Errorf("%s is left out of the document, and there is no such route", name)
	}
	count := 0
	for _, operations := range document.Paths {
		count += len(operations)
	}
	if described != count || count < 90 {
		t.Errorf("%d operations are in the document, %d of them are routes", count, described)
	}
}

// What millstream openapi prints is what a process serves.
func TestTheDocumentNeedsNoServer(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	served := s.document(t)
	var printed strings.Builder
	a := &app{domain: servedDomain(), stdout: &printed}
	WithDoor(func(e *runtime.Engine, o DoorOptions) (Door, error) {
		return graphql.New(e, graphql.Options{Logger: slog.New(slog.DiscardHandler)}), nil
	})(a)
	if err := (&openapiCmd{JSON: true}).Run(a); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(printed.String()) != strings.TrimSpace(string(served)) {
		t.Errorf("%d bytes are printed, %d served", printed.Len(), len(served))
	}
}
