package graphql

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTheDoorStandsBehindTheGuardsOfHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	query := body(`{ orders { edges { cursor } } }`)
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"nobody", nil, http.StatusUnauthorized},
		{"a viewer", []string{"Caller: eve viewer"}, http.StatusOK},
		{"a page of elsewhere", []string{"Caller: eve viewer", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, http.StatusForbidden},
	} {
		if a := post(t, s.http, query, c.headers...); a.status != c.status {
			t.Errorf("%s: got %d, want %d", c.name, a.status, c.status)
		}
	}
	a := post(t, s.http, body(`{ nothing }`), operator, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if id := a.Errors[0].Extensions["traceId"]; id != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the error's traceId is %v", id)
	}
	a = post(t, s.http, query, operator, "Accept: application/graphql-response+json")
	if got := a.header.Get("Content-Type"); got != "application/graphql-response+json; charset=utf-8" {
		t.Errorf("the content type is %s", got)
	}
	post(t, s.http, body(`mutation { receiveStock(productId: "p-1", input: {quantity: 1}) { outcome } }`), operator, "Correlation-Id: cor-1")
	s.want(`{"history":{"edges":[{"node":{"correlationId":"cor-1"}}]}}`, `{ history(category: stock, id: "p-1", minRevision: 1) { edges { node { correlationId } } } }`)
	for _, c := range []struct {
		headers []string
		status  int
		code    string
	}{
		{nil, http.StatusMethodNotAllowed, "method_not_allowed"},
		{[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: graphql-ws"}, http.StatusBadRequest, "unsupported_subprotocol"},
		{[]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: graphql-transport-ws", "Origin: https://evil.example"}, http.StatusForbidden, "cross_origin"},
	} {
		w := get(t, s.http, "/graphql?query={__typename}", append(c.headers, operator)...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), `"code":"`+c.code+`"`) {
			t.Errorf("GET %v: got %d %s, want %d %s", c.headers, w.Code, w.Body, c.status, c.code)
		}
	}
}

func TestThePlaygroundIsForDevAndTakesNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	page := get(t, s.http, "/graphql/playground")
	if page.Code != 200 || !strings.HasPrefix(page.Header().Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'") {
		t.Fatalf("got %d %v", page.Code, page.Header())
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(links) != 2 || strings.Contains(page.Body.String(), "style=") {
		t.Errorf("the page has %v", links)
	}
	for _, link := range links {
		if w := get(t, s.http, link[1]); w.Code != 200 {
			t.Errorf("%s: %d", link[1], w.Code)
		}
	}
	// Its examples are operations of this schema.
	script := get(t, s.http, "/graphql/playground/page.js").Body.String()
	examples := regexp.MustCompile("(?s)\\[`(.*?)`, `(.*?)`\\]").FindAllStringSubmatch(script, -1)
	if len(examples) != 5 {
		t.Fatalf("found %d examples", len(examples))
	}
	for _, e := range examples {
		text, err := json.Marshal(map[string]any{"query": e[1], "variables": json.RawMessage(e[2])})
		if err != nil {
			t.Fatal(err)
		}
		if a := post(t, s.http, string(text), operator); a.code() != "" && a.code() != "not_subscribable" && a.code() != "in_future" {
			t.Errorf("%s: %+v", e[1], a.Errors)
		}
	}
	served := get(t, s.http, "/graphql/schema", operator).Body.String()
	for _, part := range []string{"type Query {", "type Order {", "type StockLevel {", "type Account {", "type DaySales {", "type Mutation {", "type Subscription {"} {
		if strings.Count(served, part) != 1 {
			t.Errorf("the schema has %q %d times", part, strings.Count(served, part))
		}
	}
	closed := New(s.engine, Options{})
	t.Cleanup(func() { closed.Close(context.Background()) })
	for _, m := range closed.Mounts() {
		if strings.Contains(m.Pattern, "playground") {
			t.Error("the playground is there outside dev")
		}
	}
}
