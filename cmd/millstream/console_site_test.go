package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/console"
	"github.com/millstream-es/millstream/api/opsdoor"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/api/websocket"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// hostile is stored wherever a text may be; it must never become markup.
const hostile = `<img src=x onerror="document.documentElement.dataset.ran=1">`

// consoleSite is an engine with the whole domain and all doors that the console asks, as served twice: by dev, where
// everybody is let in, and by serve, where callers show who they are.
type consoleSite struct {
	engine *runtime.Engine
	dev    string // URL
	serve  string // URL
	keys   map[access.Role]string
	gate   sync.Mutex // locked: the careless projector waits before customers whose id begins with late

	mu      sync.Mutex
	sockets []net.Conn
	refuse  atomic.Bool // WebSockets are refused
}

func newConsoleSite(t *testing.T) *consoleSite {
	t.Helper()
	server := estest.StartServer(t, millstream.NATSConf)
	log := slog.New(slog.DiscardHandler)
	s := &consoleSite{keys: map[access.Role]string{}}
	dir := t.TempDir()
	start := func(version int) *runtime.Engine {
		all := domain
		all.Projectors = append(slices.Clone(all.Projectors), fragile(), s.careless(version))
		engine, err := runtime.Start(t.Context(), runtime.Config{
			Domain: all, DataDir: dir, Connect: server.Connect, Durability: es.Fast, Dev: true, Logger: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		return engine
	}
	end := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.engine.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	s.engine = start(1) // so that there is a model to go back to
	end()
	s.engine = start(2)
	t.Cleanup(func() { end() })
	js, err := jetstream.New(s.engine.Conn())
	if err != nil {
		t.Fatal(err)
	}
	store := ops.NewKeys(js)
	for _, role := range access.Roles {
		if _, s.keys[role], err = store.Create(t.Context(), ops.Key{Name: string(role) + "-ann", Role: string(role)}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := store.Follow(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	})
	s.dev = s.open(t, access.Dev(), log)
	s.serve = s.open(t, access.Chain(access.APIKeys(ring)), log)
	return s
}

// open serves the doors and returns their URL.
func (s *consoleSite) open(t *testing.T, who access.Authenticator, log *slog.Logger) string {
	t.Helper()
	sessions := access.NewSessions(who)
	operators, err := opsdoor.New(s.engine, opsdoor.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	followers := websocket.New(s.engine, websocket.Options{})
	mounts := slices.Concat(operators.Mounts(), followers.Mounts(), console.Mounts())
	for _, r := range sessions.Routes() {
		mounts = append(mounts, rest.Mount{Method: r.Method, Pattern: r.Path, Operation: r.Operation, Handler: sessions.Handler(rest.WriteError)})
	}
	door, err := rest.New(s.engine, rest.Options{Authenticator: sessions, Mounts: mounts, Rate: -1, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" && s.refuse.Load() {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		door.ServeHTTP(w, r)
	}))
	web.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateHijacked {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sockets = append(s.sockets, c)
		}
	}
	web.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := followers.Close(ctx); err != nil {
			t.Error(err)
		}
		web.CloseClientConnections()
		web.Close()
	})
	return web.URL
}

// cut ends every WebSocket without a goodbye.
func (s *consoleSite) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.sockets {
		c.Close()
	}
	s.sockets = nil
}

// registrations is a projector of customers.
func registrations(name string, version int, schema string, apply func(context.Context, es.Tx, es.Recorded) error) es.Projector {
	var ignored []es.Event
	for _, p := range domain.Projectors {
		if p.Name == "customers" {
			ignored = slices.Concat(p.Interest.Handles, p.Interest.Ignores)
		}
	}
	ignored = slices.DeleteFunc(ignored, func(e es.Event) bool { return e.EventType() == events.CustomerRegistered{}.EventType() })
	return es.Projector{
		Name: name, Version: version, Schema: schema, Apply: apply,
		Interest: es.Interest{Handles: []es.Event{events.CustomerRegistered{}}, Ignores: ignored},
	}
}

// fragile halts at customers whose id begins with bad.
func fragile() es.Projector {
	return registrations("fragile", 1, `CREATE TABLE fragile (id TEXT PRIMARY KEY)`, func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		if strings.HasPrefix(r.Stream.ID, "bad") {
			return es.Permanent(errors.New("cannot show " + hostile))
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO fragile VALUES (?)`, r.Stream.ID)
		return err
	})
}

// careless writes something else each time, so that no two models of it are the same.
func (s *consoleSite) careless(version int) es.Projector {
	var times atomic.Int64
	return registrations("careless", version, `CREATE TABLE careless (id TEXT PRIMARY KEY, n INTEGER)`, func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		if strings.HasPrefix(r.Stream.ID, "late") {
			s.gate.Lock()
			defer s.gate.Unlock()
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO careless VALUES (?, ?)`, r.Stream.ID, times.Add(1))
		return err
	})
}

// send executes a command, which must be accepted, and returns its reply.
func (s *consoleSite) send(t testing.TB, effect es.Effect) es.Reply {
	t.Helper()
	sent, ok := effect.(es.Send)
	if !ok {
		t.Fatalf("%T is nothing that can be sent", effect)
	}
	data, err := json.Marshal(sent.Command)
	if err != nil {
		t.Fatal(err)
	}
	reply := s.engine.Execute(t.Context(), es.Request{Type: sent.Command.CommandType(), Data: data, Meta: es.Meta{Stream: sent.Stream, User: "ann"}})
	if reply.Outcome != es.Accepted {
		t.Fatalf("%s %s: %+v %+v", sent.Stream, sent.Command.CommandType(), reply, reply.Error)
	}
	return reply
}

// order creates one that is paid with a token of the sandbox's.
func (s *consoleSite) order(t testing.TB, id, token string) es.Reply {
	t.Helper()
	return s.send(t, commands.Orders.To(id, commands.CreateOrder{
		CustomerID: "c-1", Currency: "USD", Items: []commands.Item{{ProductID: "p-1", Quantity: 2, Price: money.MustParse("19.99")}},
		ShippingAddress: commands.Address{Street: hostile, City: "Springfield", Country: "USA"},
		Payment:         commands.OrderPayment{Method: "credit_card", Token: token},
	}))
}

// park puts a command aside that nobody can work off, and returns its dead letter's id.
func (s *consoleSite) park(t testing.TB, subject, body string) string {
	t.Helper()
	if err := s.engine.Conn().Publish(subject, []byte(body)); err != nil {
		t.Fatal(err)
	}
	var letters struct {
		Items []struct{ ID, Subject string }
	}
	var id string
	err := eventually(patience, func() error {
		if err := getJSON(s.dev+"/ops/deadletters?limit=500", &letters); err != nil {
			return err
		}
		for _, l := range letters.Items {
			if l.Subject == subject {
				id = l.ID
				return nil
			}
		}
		return errors.New("no dead letter for " + subject)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// state waits until an aggregate has a status.
func (s *consoleSite) state(t testing.TB, path, status string) {
	t.Helper()
	err := eventually(patience, func() error {
		var found struct{ Status string }
		if err := getJSON(s.dev+"/ops/why/"+path, &found); err != nil {
			return err
		}
		if found.Status != status {
			return errors.New(path + " is " + found.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fill stores what the pages show.
func (s *consoleSite) fill(t testing.TB) {
	t.Helper()
	s.send(t, commands.Customers.To("c-1", commands.RegisterCustomer{Name: hostile + " Lovelace", Email: "ada@example.com"}))
	s.send(t, commands.Customers.To("c-2", commands.RegisterCustomer{Name: "Grace Hopper", Email: "grace@example.com"}))
	s.send(t, commands.Stocks.To("p-1", commands.ReceiveStock{Quantity: 1000}))
	s.send(t, commands.Accounts.To("a-1", commands.OpenAccount{Owner: hostile, Currency: "EUR"}))
	s.order(t, "o-1", "tok_ok")
	s.order(t, "o-2", "tok_declined")
	s.order(t, "o-3", "tok_timeout")
	s.state(t, "orders/o-1", "PAID")
	s.state(t, "orders/o-2", "CANCELLED")
	s.send(t, commands.Customers.To("bad-1", commands.RegisterCustomer{Name: "Nobody", Email: "nobody@example.com"}))
	s.park(t, "commands.order.o-bad.CreateOrder", `{"customerId":`+quoted(hostile)+`}`)
	s.park(t, "commands.order.o-text.CreateOrder", hostile)
	s.park(t, "commands.stock.p-9.ReceiveStock", `{"quantity":-5}`)
	s.act(t, "/ops/projections/mails/pause", `{"reason":`+quoted("upkeep "+hostile)+`}`)
	s.act(t, "/ops/projections/mails/resume", `{"reason":"done"}`)
	s.act(t, "/ops/sagas/fulfilment/o-3/retry", `{"reason":`+quoted(hostile)+`}`)
	if err := eventually(patience, func() error { return s.halted() }); err != nil {
		t.Fatal(err)
	}
}

func (s *consoleSite) halted() error {
	var p struct{ Nodes []struct{ State string } }
	if err := getJSON(s.dev+"/ops/projections/fragile", &p); err != nil {
		return err
	}
	if len(p.Nodes) != 1 || p.Nodes[0].State != "halted" {
		return errors.New("fragile has not halted")
	}
	return nil
}

// act does what an operator does.
func (s *consoleSite) act(t testing.TB, path, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.dev+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		t.Fatalf("POST %s %s: %s", path, body, response.Status)
	}
}

func quoted(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		panic(err) // texts have JSON
	}
	return string(data)
}
