package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/queries"
)

// manyTargets are the routes that learn on the way what they are about; tests of their own say what they let in.
var manyTargets = []string{"/graphql", "/ws", "/events", "/ops/deadletters/retry", "/ops/deadletters/drop", "/ops/deadletters/{id}"}

// targeted is an address of a route, and what its operation is done to there; "": to all there is.
func targeted(t *testing.T, r access.Route) (path, target string) {
	t.Helper()
	first, _, _ := strings.Cut(r.Path[1:], "/")
	path = strings.NewReplacer("{collection}", "orders", "{category}", "order", "{name}", "orders", "{saga}", "fulfilment").Replace(r.Path)
	switch kind := access.Targets[r.Operation]; {
	case strings.Contains(r.Path, "/{name}"):
		target = "orders"
	case strings.Contains(r.Path, "/{saga}"):
		target = "fulfilment"
	case kind == "query":
		for _, q := range queries.All {
			if q.QueryPath() == r.Path {
				target = q.QueryName()
			}
		}
	case kind == "category" && (strings.Contains(r.Path, "{collection}") || strings.Contains(r.Path, "{category}")):
		target = "order"
	case kind == "category":
		for _, a := range commands.All {
			if a.Collection() == first {
				target = a.Category()
			}
		}
	}
	return address(access.Route{Path: path}), target
}

func TestScopesNarrowDownEveryRoute(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	keys := map[string]string{}
	with := func(scope string) string {
		if keys[scope] == "" {
			keys[scope] = s.key(t, ops.Key{Name: "scoped", Role: "admin", Scopes: []string{scope}})
		}
		return keys[scope]
	}
	seen := map[string]int{}
	for _, route := range s.routes {
		if access.Targets[route.Operation] == "" || strings.HasPrefix(route.Path, "/ops/deadletters/{id}/") || strings.Contains(strings.Join(manyTargets, " ")+" ", route.Path+" ") {
			continue
		}
		path, target := targeted(t, route)
		op := string(route.Operation)
		allowed := op
		if target != "" {
			allowed += ":" + target
		}
		seen[access.Targets[route.Operation]]++
		if a := s.do(t, route.Method, path, with(allowed), "{}"); a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusForbidden {
			t.Errorf("%s %s with scope %s: %d %s", route.Method, path, allowed, a.StatusCode, a.Code)
		}
		if a := s.do(t, route.Method, path, with(op+":other"), "{}"); a.StatusCode != http.StatusForbidden || a.Code != access.CodeDenied {
			t.Errorf("%s %s with scope %s:other: %d %s", route.Method, path, op, a.StatusCode, a.Code)
		}
	}
	if seen["query"] < 15 || seen["category"] < 30 || seen["projection"] < 6 || seen["saga"] < 4 {
		t.Errorf("too few routes have a target: %v", seen)
	}
	for path, scope := range map[string]string{
		"/ops/sagas?saga=fulfilment": "sagas.read:fulfilment", "/ops/timers?saga=fulfilment": "sagas.read:fulfilment",
		"/ops/snapshots?category=order": "snapshots.read:order", "/ops/deadletters?consumer=commands": "deadletters.read:commands",
	} {
		if a := s.do(t, http.MethodGet, path, with(scope), ""); a.StatusCode == http.StatusForbidden {
			t.Errorf("%s with %s: %d %s", path, scope, a.StatusCode, a.Code)
		}
		if a := s.do(t, http.MethodGet, path+"x", with(scope), ""); a.StatusCode != http.StatusForbidden {
			t.Errorf("%sx with %s: %d", path, scope, a.StatusCode)
		}
	}
	// The past of an order is told apart from the order as queries show it.
	if a := s.do(t, http.MethodGet, "/orders/o-1?asOf=1", with("aggregate.read:order"), ""); a.StatusCode == http.StatusForbidden {
		t.Errorf("the past: %d %s", a.StatusCode, a.Code)
	}
	if a := s.do(t, http.MethodGet, "/orders/o-1", with("aggregate.read:order"), ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("the present: %d", a.StatusCode)
	}
}

func TestScopesAtGraphQL(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	ask := func(key, document string) string {
		t.Helper()
		body, err := json.Marshal(map[string]string{"query": document})
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/graphql", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "X-Api-Key": {key}}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		data, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	one := queries.OrderByID.QueryName()
	for _, c := range []struct {
		scopes   []string
		document string
		denied   bool
	}{
		{[]string{"query.ask:" + one}, `{order(orderId:"o-1"){orderId}}`, false},
		{[]string{"query.ask:" + one}, `{orders{edges{node{orderId}}}}`, true},
		{[]string{"query.ask:" + one}, `mutation{receiveStock(productId:"p-1",input:{quantity:1}){outcome}}`, true},
		{[]string{"command.send:stock"}, `mutation{receiveStock(productId:"p-1",input:{quantity:1}){outcome}}`, false},
		{[]string{"command.send:order"}, `mutation{receiveStock(productId:"p-1",input:{quantity:1}){outcome}}`, true},
		{[]string{"metrics.read"}, `{order(orderId:"o-1"){orderId}}`, true},
	} {
		key := s.key(t, ops.Key{Name: "scoped", Role: "admin", Scopes: c.scopes})
		if got := ask(key, c.document); strings.Contains(got, `"denied"`) != c.denied || !c.denied && strings.Contains(got, `"errors"`) {
			t.Errorf("%v: %s is answered %s", c.scopes, c.document, got)
		}
	}
}

// talk opens a WebSocket, sends messages and returns the first answer that is none of those to be skipped.
func (s *served) talk(t *testing.T, path, protocol, key string, skip string, messages ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(s.url, "http", "ws", 1)+path, &websocket.DialOptions{
		Subprotocols: []string{protocol}, HTTPHeader: http.Header{"X-Api-Key": {key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for _, m := range messages {
		if err := c.Write(ctx, websocket.MessageText, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		_, data, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if skip == "" || !strings.Contains(string(data), skip) {
			return string(data)
		}
	}
}

func TestScopesOfFollowers(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	if a := s.do(t, http.MethodPost, "/stock/p-1/receive-stock", s.keys[access.Operator], `{"quantity":1}`); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.Code)
	}
	key := s.key(t, ops.Key{Name: "scoped", Role: "viewer", Scopes: []string{"events.follow:stock"}})
	for category, denied := range map[string]bool{"stock": false, "order": true, "": true} {
		t.Run("of "+category, func(t *testing.T) {
			subscribe := fmt.Sprintf(`{"type":"subscribe","id":"1","category":%q}`, category)
			query, argument := "?category="+category, "(after:0,category:"+category+")"
			if category == "" {
				subscribe, query, argument = `{"type":"subscribe","id":"1"}`, "", "(after:0)"
			}
			if got := s.talk(t, "/ws", "millstream.v1", key, "", subscribe); strings.Contains(got, `"denied"`) != denied || !denied && !strings.Contains(got, "StockReceived") {
				t.Errorf("/ws says %s", got)
			}
			got := s.talk(t, "/graphql", "graphql-transport-ws", key, "connection_ack", `{"type":"connection_init"}`,
				fmt.Sprintf(`{"type":"subscribe","id":"1","payload":{"query":"subscription{events%s{revision}}"}}`, argument))
			if strings.Contains(got, `"denied"`) != denied || !denied && !strings.Contains(got, `"revision":`) {
				t.Errorf("/graphql says %s", got)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/events"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-API-Key", key)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if (answer.StatusCode == http.StatusForbidden) != denied {
				t.Errorf("/events says %d", answer.StatusCode)
			}
			if line, err := bufio.NewReader(answer.Body).ReadString('\n'); err != nil && err != io.EOF || !denied && !strings.HasPrefix(line, "retry") {
				t.Errorf("/events says %q, %v", line, err)
			}
		})
	}
}

func TestScopesOfSessions(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	key := s.key(t, ops.Key{Name: "scoped", Role: "viewer", Scopes: []string{"projections.read:orders"}})
	login := s.do(t, http.MethodPost, "/session", "", fmt.Sprintf(`{"token":%q}`, key))
	if login.StatusCode != http.StatusOK || len(login.Cookies()) != 1 {
		t.Fatalf("%d %v", login.StatusCode, login.Header)
	}
	for path, status := range map[string]int{
		"/ops/projections/orders": http.StatusOK, "/ops/projections/stock": http.StatusForbidden, "/ops/projections": http.StatusForbidden,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(login.Cookies()[0])
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != status {
			t.Errorf("%s with the cookie of a scoped key: %d, expected %d", path, answer.StatusCode, status)
		}
	}
}
