package rest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/api/rest"
)

func document(t *testing.T) map[string]any {
	t.Helper()
	return object(t, call(t, newDoor(t, newEngine(t), rest.Options{}), "GET", "/openapi.json", ""))
}

// at follows a path of keys into a JSON value; nil when there is nothing.
func at(v any, keys ...string) any {
	for _, k := range keys {
		o, _ := v.(map[string]any)
		v = o[k]
	}
	return v
}

func TestTheDocumentHasEveryCommandAndQuery(t *testing.T) {
	t.Parallel()
	doc := document(t)
	for path, operations := range map[string]map[string]string{
		"/parcels/{id}/open-parcel":  {"post": "parcel-open-parcel"},
		"/parcels/{id}/seal-parcel":  {"post": "parcel-seal-parcel"},
		"/boxes/{id}/fill-box":       {"post": "box-fill-box"},
		"/parcels":                   {"get": "parcels"},
		"/parcels/{parcelId}":        {"get": "parcelById"},
		"/{collection}/{id}/history": {"get": "history"},
		"/boxes/{id}":                {"get": "box-state"},
	} {
		for method, id := range operations {
			if got := at(doc, "paths", path, method, "operationId"); got != id {
				t.Errorf("%s %s: operation %v, want %s", method, path, got, id)
			}
		}
	}
	body := at(doc, "paths", "/parcels/{id}/open-parcel", "post", "requestBody", "content", "application/json")
	if at(body, "example", "to") != "Ada" || at(body, "schema", "$ref") != "#/components/schemas/parcel.OpenParcel" {
		t.Errorf("the body of open-parcel: %v", body)
	}
	if got := at(doc, "components", "schemas", "parcel.OpenParcel", "properties", "to", "minLength"); got != 1.0 {
		t.Errorf("the schema of OpenParcel is not the registry's: minLength %v", got)
	}
}

func TestTheDocumentIsSoundOpenAPI31(t *testing.T) {
	t.Parallel()
	doc := document(t)
	if doc["openapi"] != "3.1.0" || at(doc, "info", "title") != "parcels" || at(doc, "info", "version") == "" {
		t.Errorf("openapi %v, info %v", doc["openapi"], doc["info"])
	}
	each(doc, "#", func(where string, o map[string]any) {
		ref, ok := o["$ref"].(string)
		if !ok {
			return
		}
		path, ok := strings.CutPrefix(ref, "#/")
		if !ok || at(doc, strings.Split(path, "/")...) == nil {
			t.Errorf("%s: %s leads nowhere", where, ref)
		}
		if len(o) > 1 {
			t.Errorf("%s: a reference has siblings: %v", where, o)
		}
	})
	seen := map[any]bool{}
	key := regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)
	for kind, members := range doc["components"].(map[string]any) {
		for name := range members.(map[string]any) {
			if !key.MatchString(name) {
				t.Errorf("component %s %q is no name", kind, name)
			}
		}
	}
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			where := method + " " + path
			if id := at(op, "operationId"); id == nil || seen[id] {
				t.Errorf("%s: operation id %v is absent or doubled", where, id)
			} else {
				seen[id] = true
			}
			for status, r := range at(op, "responses").(map[string]any) {
				if at(r, "description") == nil && at(r, "$ref") == nil {
					t.Errorf("%s: response %s has no description", where, status)
				}
			}
			var inPath []string
			names := map[string]bool{}
			list, _ := at(op, "parameters").([]any)
			for _, p := range list {
				if ref, ok := at(p, "$ref").(string); ok {
					p = at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
				}
				name := fmt.Sprint(at(p, "in"), " ", at(p, "name"))
				if names[name] || at(p, "schema") == nil {
					t.Errorf("%s: parameter %s is doubled or has no schema", where, name)
				}
				names[name] = true
				if at(p, "in") == "path" {
					inPath = append(inPath, "{"+at(p, "name").(string)+"}")
					if at(p, "required") != true {
						t.Errorf("%s: path parameter %s is not required", where, name)
					}
				}
			}
			want := regexp.MustCompile(`\{\w+\}`).FindAllString(path, -1)
			slices.Sort(want)
			slices.Sort(inPath)
			if !slices.Equal(inPath, want) {
				t.Errorf("%s: path parameters %v", where, inPath)
			}
		}
	}
}

func each(v any, where string, visit func(string, map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(where, v)
		for k, member := range v {
			each(member, where+"/"+k, visit)
		}
	case []any:
		for i, member := range v {
			each(member, fmt.Sprint(where, "/", i), visit)
		}
	}
}

func TestTheDocsPageUsesEmbeddedAssetsAlone(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newDoor(t, newEngine(t), rest.Options{}))
	defer server.Close()
	get := func(path string) (string, string) {
		r, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		data, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%s: %d %v", path, r.StatusCode, err)
		}
		return string(data), r.Header.Get("Content-Type")
	}
	page, _ := get("/docs")
	assets := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(assets) < 4 {
		t.Fatalf("only %d assets in %s", len(assets), page)
	}
	for _, a := range assets {
		u, err := url.Parse(a[1])
		if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/docs/") {
			t.Errorf("asset %q is not of this server", a[1])
			continue
		}
		body, contentType := get(u.Path)
		if body == "" || contentType == "" {
			t.Errorf("asset %q: %d bytes of %q", a[1], len(body), contentType)
		}
	}
	var doc map[string]any
	if text, contentType := get("/openapi.json"); json.Unmarshal([]byte(text), &doc) != nil || contentType != "application/openapi+json" {
		t.Errorf("/openapi.json is %q", contentType)
	}
}
