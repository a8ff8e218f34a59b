package cli

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/graphql"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/projectors"
	"github.com/millstream-es/millstream/queries"
)

// served is a node of `serve`, in this process, with an API key for each role.
type served struct {
	url    string
	routes []access.Route
	nats   *natsstore.Server
	store  *ops.Keys
	keys   map[access.Role]string
}

func servedDomain() es.Domain {
	return es.Domain{Name: "millstream", Events: events.All, Aggregates: commands.All, Projectors: projectors.All, Queries: queries.All}
}

// newServed starts one as serve's flags say.
func newServed(t *testing.T, flags authFlags) *served {
	t.Helper()
	if err := flags.check(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	known, err := flags.callers(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{nats: estest.StartServer(t, millstream.NATSConf), keys: map[access.Role]string{"": ""}}
	n := (&serveCmd{authFlags: flags, Rate: 0}).node(&app{domain: servedDomain()}, known, log, runtime.Config{
		Connect: s.nats.Connect, DataDir: t.TempDir(), Logger: log,
	}, s.nats.ClientURL)
	n.config.Durability = es.Fast // the server of tests is
	engine, err := runtime.Start(t.Context(), n.config)
	if err != nil {
		t.Fatal(err)
	}
	n.doors = append(n.doors, func(e *runtime.Engine, o DoorOptions) (Door, error) {
		return graphql.New(e, graphql.Options{Dev: true, Logger: o.Logger}), nil
	})
	doors := &httpDoors{}
	door, err := doors.handler(t.Context(), n, engine)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(door)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, err := range []error{doors.close(ctx), engine.Close(ctx)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	s.url, s.routes = web.URL, door.Routes()
	js, err := jetstream.New(estest.Connect(t, s.nats.ClientURL(), ""))
	if err != nil {
		t.Fatal(err)
	}
	s.store = ops.NewKeys(js)
	for _, role := range access.Roles {
		s.keys[role] = s.key(t, ops.Key{Name: string(role) + "-test", Role: string(role)})
	}
	return s
}

// key makes one and waits until the door knows it.
func (s *served) key(t *testing.T, k ops.Key) string {
	t.Helper()
	_, text, err := s.store.Create(t.Context(), k, "test")
	if err != nil {
		t.Fatal(err)
	}
	s.until(t, "knows a new key", func() bool {
		answer := s.do(t, http.MethodGet, "/session", text, "")
		return answer.StatusCode == http.StatusOK
	})
	return text
}

func (s *served) until(t *testing.T, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !true() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never came true that the door %s", what)
		}
	}
}

// answered is the head of an answer and the beginning of a problem.
type answered struct {
	*http.Response
	Code string
}

// do sends a request and reads its answer, of a problem only; what streams is hung up on.
func (s *served) do(t *testing.T, method, path, key, body string) answered {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	a := answered{Response: response}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") {
		var problem struct{ Error struct{ Code string } }
		data, err := io.ReadAll(response.Body)
		if err == nil {
			err = json.Unmarshal(data, &problem)
		}
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		a.Code = problem.Error.Code
	}
	return a
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// address is a path that leads to a route.
func address(r access.Route) string {
	return wildcard.ReplaceAllStringFunc(r.Path, func(name string) string {
		if name == "{$}" {
			return ""
		}
		return "x-1"
	})
}

func TestEveryRouteAsksWhoIsCalling(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	if len(s.routes) < 40 {
		t.Fatalf("there are only %d routes", len(s.routes))
	}
	for _, route := range s.routes {
		t.Run(route.Method+" "+route.Path, func(t *testing.T) {
			need, ruled := access.Rules[route.Operation]
			if !ruled && route.Operation != access.Public {
				t.Fatalf("operation %q has no rule", route.Operation)
			}
			method, path := route.Method, address(route)
			if method == "" {
				method = http.MethodGet
			}
			for _, role := range append([]access.Role{""}, access.Roles...) {
				a := s.do(t, method, path, s.keys[role], "{}")
				refused := a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusForbidden
				switch {
				case route.Path == "/session":
					// It answers 401 by itself, to who has no session or no good token.
				case route.Operation == access.Public || role.Includes(need):
					if refused {
						t.Errorf("%s as %q: %d %s", route.Operation, role, a.StatusCode, a.Code)
					}
				case role == "":
					if a.StatusCode != http.StatusUnauthorized || a.Code != access.CodeUnauthenticated || a.Header.Get("WWW-Authenticate") == "" {
						t.Errorf("%s of nobody: %d %s, WWW-Authenticate %q", route.Operation, a.StatusCode, a.Code, a.Header.Get("WWW-Authenticate"))
					}
				default:
					if a.StatusCode != http.StatusForbidden || a.Code != access.CodeDenied {
						t.Errorf("%s as %s: %d %s", route.Operation, role, a.StatusCode, a.Code)
					}
				}
			}
			if route.Operation != access.Public {
				if a := s.do(t, method, path, s.keys[access.Admin]+"x", "{}"); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("with a bad key: %d", a.StatusCode)
				}
			}
		})
	}
}

func TestCommandsOfSagasAreForAdmins(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true, NATSRoles: map[string]string{"*": "operator"}})
	internal := map[string]bool{}
	for _, r := range s.routes {
		if r.Operation == access.CommandInternal {
			internal[r.Path] = true
		}
	}
	for _, path := range []string{"/accounts/{id}/send-transfer", "/transfers/{id}/complete-transfer", "/payments/{id}/record-payment", "/orders/{id}/mark-order-paid"} {
		if !internal[path] {
			t.Errorf("%s is open to operators", path)
		}
	}
	if a := s.do(t, http.MethodPost, "/transfers/t-1/complete-transfer", s.keys[access.Admin], "{}"); a.Code != "transfer_not_found" {
		t.Errorf("an admin is answered %d %s", a.StatusCode, a.Code)
	}

	reply := func(user, subject, body string) es.Reply {
		t.Helper()
		m, err := estest.Connect(t, s.nats.ClientURL(), user).Request(subject, []byte(body), 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var r es.Reply
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := reply("client", "call.transfer.t-1.CompleteTransfer", "{}"); r.Error == nil || r.Error.Code != access.CodeDenied {
		t.Errorf("a client is answered %+v", r)
	}
	if r := reply("engine", "call.transfer.t-1.CompleteTransfer", "{}"); r.Error == nil || r.Error.Code != "transfer_not_found" {
		t.Errorf("the engine's account is answered %+v", r)
	}
	if r := reply("client", "call.stock.p-1.ReceiveStock", `{"quantity":1}`); r.Outcome != es.Accepted {
		t.Errorf("a client is answered %+v %+v", r, r.Error)
	}
	// Whoever queued it, and whatever they claim: nobody vouches for them any more.
	nc := estest.Connect(t, s.nats.ClientURL(), "client")
	if _, err := nc.Request("commands.transfer.t-1.CompleteTransfer", []byte("{}"), 20*time.Second); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(estest.Connect(t, s.nats.ClientURL(), ""))
	if err != nil {
		t.Fatal(err)
	}
	s.until(t, "puts a queued command of a saga aside", func() bool {
		m, err := natsstore.Newest(t.Context(), js, natsstore.DeadLettersStream, "deadletters.commands.>")
		return err == nil && m != nil && strings.Contains(string(m.Data), "denied")
	})
}

func TestNATSUsersHaveRoles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		roles, user, operation string
		ok                     bool
	}{
		{"*=operator", "client", "command.send", true},
		{"*=operator", "client", "command.internal", false},
		{"*=operator", runtime.EngineUser, "command.internal", true},
		{"client=viewer", "client", "command.send", false},
		{"client=viewer", "client", "query.ask", true},
		{"client=viewer", "other", "query.ask", false},
		{"client=viewer,*=operator", "other", "command.send", true},
		{"client=admin", "client", "command.internal", true},
		{"client=admin", "CLIENTS/engine", "command.send", false},
	} {
		roles := map[string]string{}
		for pair := range strings.SplitSeq(c.roles, ",") {
			user, role, _ := strings.Cut(pair, "=")
			roles[user] = role
		}
		err := authFlags{NATSRoles: roles}.authorize(c.user, c.operation, "order")
		if (err == nil) != c.ok || err != nil && runtime.Status(err) != http.StatusForbidden {
			t.Errorf("%s: %s by %s: %v", c.roles, c.operation, c.user, err)
		}
	}
}

func TestARevokedKeyIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	scoped := s.key(t, ops.Key{Name: "shop", Role: "operator", Scopes: []string{"command.send:stock"}})
	if a := s.do(t, http.MethodPost, "/stock/p-1/receive-stock", scoped, `{"quantity":1}`); a.StatusCode != http.StatusOK {
		t.Errorf("within its scope: %d %s", a.StatusCode, a.Code)
	}
	for method, path := range map[string]string{http.MethodPost: "/orders/o-1/create-order", http.MethodGet: "/orders"} {
		if a := s.do(t, method, path, scoped, "{}"); a.StatusCode != http.StatusForbidden || a.Code != access.CodeDenied {
			t.Errorf("out of its scope: %d %s", a.StatusCode, a.Code)
		}
	}
	history, err := s.nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer history.Close()
	js, err := jetstream.New(history)
	if err != nil {
		t.Fatal(err)
	}
	m, err := natsstore.Newest(t.Context(), js, natsstore.EventsStream, "events.stock.p-1")
	if err != nil || m == nil || m.Header.Get("ce-userid") != "shop" {
		t.Errorf("the event does not say whose key it was: %+v, %v", m, err)
	}
	id, _, _ := ops.ParseKey(scoped)
	if _, _, err := s.store.Revoke(t.Context(), id, "test", "it leaked"); err != nil {
		t.Fatal(err)
	}
	s.until(t, "refuses a revoked key", func() bool {
		return s.do(t, http.MethodPost, "/stock/p-1/receive-stock", scoped, `{"quantity":1}`).StatusCode == http.StatusUnauthorized
	})
}

// TestARevokedKeySendsNothingOverAnOpenWebSocket connects as a page does, with its key as a subprotocol.
func TestARevokedKeySendsNothingOverAnOpenWebSocket(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true})
	key := s.key(t, ops.Key{Name: "page", Role: "operator"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(s.url, "http", "ws", 1)+"/graphql", &websocket.DialOptions{
		Subprotocols: []string{"graphql-transport-ws", "bearer." + key}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	tell := func(text string) {
		t.Helper()
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	answer := func() string {
		t.Helper()
		for {
			_, data, err := conn.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(data), `"next"`) {
				return string(data)
			}
		}
	}
	const receive = `{"id":"1","type":"subscribe","payload":{"query":"mutation { receiveStock(productId: \"p-1\", input: {quantity: 1}) { outcome } }"}}`
	tell(`{"type":"connection_init"}`)
	tell(receive)
	if got := answer(); !strings.Contains(got, "accepted") {
		t.Fatalf("with a good key: %s", got)
	}
	id, _, _ := ops.ParseKey(key)
	if _, _, err := s.store.Revoke(t.Context(), id, "test", "it leaked"); err != nil {
		t.Fatal(err)
	}
	s.until(t, "refuses a revoked key on an open connection", func() bool {
		tell(receive)
		return strings.Contains(answer(), `"unauthenticated"`)
	})
}

func TestAuthenticationFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags authFlags
		says  string // "": they are good
	}{
		{authFlags{APIKeys: true}, ""},
		{authFlags{OIDC: "https://id.example", JWTAudience: "m"}, ""},
		{authFlags{JWTKeys: "f", JWTIssuer: "i", JWTAudience: "m", JWTAlgorithms: []string{"ES256"}}, ""},
		{authFlags{}, "nobody could come in"},
		{authFlags{APIKeys: true, JWTIssuer: "i"}, "--oidc or --jwt-keys"},
		{authFlags{OIDC: "u", JWTKeys: "f", JWTIssuer: "i", JWTAudience: "m"}, "give one"},
		{authFlags{OIDC: "u"}, "--jwt-audience"},
		{authFlags{JWTKeys: "f", JWTAudience: "m"}, "--jwt-issuer"},
		{authFlags{APIKeys: true, JWTAlgorithms: []string{"HS256"}}, "HS256"},
		{authFlags{APIKeys: true, NATSRoles: map[string]string{"client": "root"}}, "root"},
		{authFlags{APIKeys: true, HTTPCert: "c"}, "go together"},
	} {
		err := c.flags.check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, expected %q", c.flags, err, c.says)
		}
	}
	for at, open := range map[string]bool{"127.0.0.1:0": true, "localhost:80": true, "[::1]:0": true, "0.0.0.0:80": false, ":80": false, "192.0.2.1:80": false, "evil.localhost.example:1": false, "nonsense": false} {
		if err := loopback("http", at); (err == nil) != open {
			t.Errorf("dev at %s: %v", at, err)
		}
	}
}
