package graphql

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/projectors"
	"github.com/millstream-es/millstream/queries"
)

var domain = es.Domain{Name: "orders", Events: events.All, Aggregates: commands.All, Projectors: projectors.All, Queries: queries.All}

// byHeader believes the header Caller: "name role", until nobody is known any more.
type byHeader struct{ gone *atomic.Bool }

func (b byHeader) Authenticate(r *http.Request) (access.Principal, error) {
	name, role, ok := strings.Cut(r.Header.Get("Caller"), " ")
	if !ok || b.gone != nil && b.gone.Load() {
		return access.Principal{}, access.ErrNoCredentials
	}
	return access.Principal{Name: name, Role: access.Role(role), Method: "dev"}, nil
}

// counted counts what the engine is asked and the statements that answer.
type counted struct {
	*runtime.Engine
	mu         sync.Mutex
	asked      []string
	statements int
}

func (c *counted) Ask(ctx context.Context, q es.QueryDef, params any, min es.Revision) (any, es.Revision, error) {
	c.mu.Lock()
	c.asked = append(c.asked, q.QueryName())
	c.mu.Unlock()
	return c.Engine.Ask(ctx, countedQuery{q, c}, params, min)
}

func (c *counted) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statements++
}

func (c *counted) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.statements = nil, 0
}

type countedQuery struct {
	es.QueryDef
	by *counted
}

func (q countedQuery) AskAny(ctx context.Context, db es.Reader, params any) (any, error) {
	return q.QueryDef.AskAny(ctx, countedReader{db, q.by}, params)
}

type countedReader struct {
	es.Reader
	by *counted
}

func (r countedReader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	r.by.count()
	return r.Reader.QueryContext(ctx, query, args...)
}

func (r countedReader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	r.by.count()
	return r.Reader.QueryRowContext(ctx, query, args...)
}

// shop is a running engine behind all its HTTP doors.
type shop struct {
	*testing.T
	engine *counted
	door   *Door
	http   http.Handler
	gone   atomic.Bool // whoever was known
	last   es.Revision // of the last command sent with send
}

// newShop opens a shop; without roles it has all that its doors need.
func newShop(t *testing.T, roles ...runtime.Role) *shop {
	t.Helper()
	if roles == nil {
		roles = []runtime.Role{runtime.RoleProjectors, runtime.RoleAPI}
	}
	server := estest.StartServer(t, millstream.NATSConf)
	engine, err := runtime.Start(t.Context(), runtime.Config{
		Domain: domain, Connect: server.Connect, DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		Roles: roles,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	s := &shop{T: t, engine: &counted{Engine: engine}}
	s.door = New(s.engine, Options{Dev: true, WriteWait: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { s.door.Close(context.Background()) })
	if s.http, err = rest.New(engine, rest.Options{Authenticator: byHeader{&s.gone}, Mounts: s.door.Mounts(), Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// send has the engine execute a command and wants it accepted.
func (s *shop) send(stream es.Stream, c es.Command) {
	s.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		s.Fatal(err)
	}
	reply := s.engine.Execute(s.Context(), es.Request{Type: c.CommandType(), Data: data, Internal: true, Meta: es.Meta{Stream: stream, User: "ada"}})
	if reply.Outcome != es.Accepted {
		s.Fatalf("%s to %s: %+v %+v", c.CommandType(), stream, reply, reply.Error)
	}
	s.last = reply.Revision
}

// order places an order of one line and has its payment requested.
func (s *shop) order(id, customer string) {
	s.Helper()
	s.send(commands.Orders.Stream(id), commands.CreateOrder{
		CustomerID: customer, Currency: "USD", Items: []commands.Item{{ProductID: "p-1", Quantity: 2, Price: money.MustParse("19.99")}},
		ShippingAddress: commands.Address{Street: "1 Main St", City: "Springfield", Country: "USA"},
		Payment:         commands.OrderPayment{Method: "paypal", Token: "tok_ok"},
	})
	s.send(commands.Payments.Stream(id+"-1"), commands.RequestPayment{
		OrderID: id, CustomerID: customer, Amount: money.MustParse("39.98"), Currency: "USD", Method: "paypal", Token: "tok_ok"})
}

// answer is a GraphQL response.
type answer struct {
	Data   json.RawMessage `json:"data"`
	Errors []struct {
		Message    string         `json:"message"`
		Path       []any          `json:"path"`
		Extensions map[string]any `json:"extensions"`
	} `json:"errors"`
	status int
	header http.Header
}

func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	code, _ := a.Errors[0].Extensions["code"].(string)
	return code
}

const operator = "Caller: ada operator"

// post sends a body to /graphql.
func post(t *testing.T, h http.Handler, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%s: %d %q: %v", body, w.Code, w.Body, err)
	}
	return a
}

// ask sends an operation as an operator. Variables come in pairs of name and value.
func (s *shop) ask(query string, variables ...any) answer {
	s.Helper()
	return post(s.T, s.http, body(query, variables...), operator)
}

func body(query string, variables ...any) string {
	named := map[string]any{}
	for i := 0; i < len(variables); i += 2 {
		named[variables[i].(string)] = variables[i+1]
	}
	text, err := json.Marshal(map[string]any{"query": query, "variables": named})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// want asks and compares the data as JSON; numbers compare as text.
func (s *shop) want(want, query string, variables ...any) {
	s.Helper()
	a := s.ask(query, variables...)
	if len(a.Errors) > 0 {
		s.Fatalf("%s: %+v", query, a.Errors)
	}
	if got, want := canonical(s.T, a.Data), canonical(s.T, []byte(want)); got != want {
		s.Errorf("%s\ngot  %s\nwant %s", query, got, want)
	}
}

func canonical(t *testing.T, data []byte) string {
	t.Helper()
	var value any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// dig reads the value at a path of names and indexes, "orders.edges.0.node".
func dig(t *testing.T, data []byte, path string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(v) {
				t.Fatalf("%s: no %q in %s", path, step, data)
			}
			value = v[i]
		default:
			t.Fatalf("%s: no %q in %s", path, step, data)
		}
	}
	return value
}
