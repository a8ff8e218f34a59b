package graphql

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/money"
)

// client is a WebSocket to /graphql.
type client struct {
	*testing.T
	conn *websocket.Conn
}

type message struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

func (s *shop) dial(url string) *client {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(url, "http", "ws", 1)+"/graphql", &websocket.DialOptions{
		Subprotocols: []string{"graphql-transport-ws"}, HTTPHeader: http.Header{"Caller": {"eve viewer"}}})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.CloseNow() })
	c := &client{s.T, conn}
	c.send(message{Type: "connection_init"})
	if m := c.next(); m.Type != "connection_ack" {
		s.Fatalf("got %+v", m)
	}
	return c
}

func (c *client) send(m message) {
	c.Helper()
	text, err := json.Marshal(m)
	if err == nil {
		err = c.conn.Write(c.Context(), websocket.MessageText, text)
	}
	if err != nil {
		c.Fatal(err)
	}
}

func (c *client) read() (message, error) {
	ctx, cancel := context.WithTimeout(c.Context(), 20*time.Second)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	var m message
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

func (c *client) next() message {
	c.Helper()
	m, err := c.read()
	if err != nil {
		c.Fatal(err)
	}
	return m
}

func (c *client) subscribe(id, query string) {
	c.Helper()
	c.send(message{ID: id, Type: "subscribe", Payload: json.RawMessage(body(query))})
}

// notice reads the next notice of a subscription as "revision live types".
func (c *client) notice(id string) string {
	c.Helper()
	m := c.next()
	if m.ID != id || m.Type != "next" {
		c.Fatalf("got %+v %s", m, m.Payload)
	}
	var payload struct {
		Data struct {
			Events struct {
				Revision uint64
				Live     bool
				Events   []struct{ Type, AggregateID string }
			}
		}
	}
	if err := json.Unmarshal(m.Payload, &payload); err != nil {
		c.Fatalf("%s: %v", m.Payload, err)
	}
	e := payload.Data.Events
	return fmt.Sprintf("%d %v %v", e.Revision, e.Live, e.Events)
}

func (s *shop) serve() string {
	server := httptest.NewServer(s.http)
	s.Cleanup(server.Close)
	return server.URL
}

const follow = `{ revision live events { type aggregateId } }`

func TestSubscriptionsTellWhatWasAndWhatHappens(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	url := s.serve()
	receive := func(id string) { s.send(commands.Stocks.Stream(id), commands.ReceiveStock{Quantity: 1}) }
	receive("p-1") // 1
	receive("p-2") // 2
	receive("p-1") // 3
	c := s.dial(url)
	want := func(id, want string) {
		t.Helper()
		if got := c.notice(id); got != want {
			t.Errorf("subscription %s: got %s, want %s", id, got, want)
		}
	}
	c.subscribe("all", `subscription { events(after: 0) `+follow+` }`)
	want("all", "1 false [{StockReceived p-1}]")
	want("all", "2 false [{StockReceived p-2}]")
	want("all", "3 false [{StockReceived p-1}]")
	want("all", "3 true []")
	receive("p-3") // 4
	want("all", "4 false [{StockReceived p-3}]")
	c.send(message{ID: "all", Type: "complete"})
	if m := c.next(); m.ID != "all" || m.Type != "complete" {
		t.Errorf("got %+v", m)
	}
	c.subscribe("one", `subscription { events(category: stock, id: "p-1", after: 1) `+follow+` }`)
	want("one", "3 false [{StockReceived p-1}]")
	want("one", "4 true []")
	c.subscribe("new", `subscription { events(category: customer, types: ["CustomerRegistered"]) `+follow+` }`)
	want("new", "4 true []")
	receive("p-2")                                                                          // 5
	s.send(commands.Customers.Stream("c-1"), commands.RegisterCustomer{Name: "Ada"})        // 6
	s.send(commands.Customers.Stream("c-1"), commands.RenameCustomer{Name: "Ada Lovelace"}) // 7
	want("new", "6 false [{CustomerRegistered c-1}]")
	receive("p-1") // 8
	want("one", "8 false [{StockReceived p-1}]")

	// Queries come over it too, under the same rules.
	c.subscribe("q", `{ stock(productId: "p-3", minRevision: 4) { onHand } }`)
	if m := c.next(); m.Type != "next" || string(m.Payload) != `{"data":{"stock":{"onHand":1}}}` {
		t.Errorf("got %+v %s", m, m.Payload)
	}
	if m := c.next(); m.ID != "q" || m.Type != "complete" {
		t.Errorf("got %+v", m)
	}
	for _, bad := range []struct{ query, code string }{
		{`subscription { events(id: "p-1") { revision } }`, "schema"},
		{`subscription { events(types: ["StockRecieved"]) { revision } }`, "unknown_event"},
		{`subscription { events(after: 1000) { revision } }`, "in_future"},
		{`subscription { events(category: stock, id: "a.>") { revision } }`, "bad_id"},
		{`subscription { nothing }`, "schema"},
		{`subscription {`, "malformed"},
		{`mutation { receiveStock(productId: "p-1", input: {quantity: 1}) { outcome } }`, "denied"},
	} {
		c.subscribe("bad", bad.query)
		m := c.next()
		if m.ID != "bad" || !strings.Contains(string(m.Payload), `"code":"`+bad.code+`"`) {
			t.Errorf("%s: got %+v %s, want %s", bad.query, m, m.Payload, bad.code)
		}
		if m.Type == "next" || m.Type == "error" {
			m = c.next()
		}
		if m.Type != "complete" {
			t.Errorf("%s ends with %+v", bad.query, m)
		}
	}
}

func TestTheDoorsEndEndsItsWebSockets(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	c := s.dial(s.serve())
	c.subscribe("1", `subscription { events `+follow+` }`)
	c.notice("1")
	closed := make(chan error, 1)
	go func() { closed <- s.door.Close(t.Context()) }()
	for {
		if _, err := c.read(); err != nil {
			if websocket.CloseStatus(err) != closeLeaving {
				t.Errorf("got %v, want status %d", err, closeLeaving)
			}
			break
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if w := get(t, s.http, "/graphql", operator, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: graphql-transport-ws"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a closed door answers %d %s", w.Code, w.Body)
	}
}

func TestAWebSocketThatSpeaksOtherwiseIsClosed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	url := s.serve()
	for _, text := range []string{`no JSON`, `{"type": "nothing"}`, `{"type": "connection_init", "payload": 1}`, `{"type":"subscribe","id":"1"}`} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		conn, _, err := websocket.Dial(ctx, strings.Replace(url, "http", "ws", 1)+"/graphql", &websocket.DialOptions{
			Subprotocols: []string{"graphql-transport-ws"}, HTTPHeader: http.Header{"Caller": {"eve viewer"}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusProtocolError {
			t.Errorf("%s: got %v", text, err)
		}
		cancel()
	}
	c := s.dial(url)
	c.conn.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat(" ", 1<<20+1)))
	if _, err := c.read(); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("a message that is too large: got %v", err)
	}
}

func TestAWebSocketHasSoManySubscriptions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	c := s.dial(s.serve())
	for i := range mostSubscribed + 1 {
		c.subscribe(fmt.Sprint(i), `subscription { events `+follow+` }`)
	}
	live, refused := 0, 0
	for live+refused < mostSubscribed+1 {
		switch m := c.next(); {
		case strings.Contains(string(m.Payload), `"live":true`):
			live++
		case strings.Contains(string(m.Payload), "too_many_subscriptions"):
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d were refused, want 1", refused)
	}
}

// code is that of the error that the next message refuses an operation with.
func (c *client) code(id string) string {
	c.Helper()
	m := c.next()
	var payload struct {
		Errors []struct {
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal(m.Payload, &payload); err != nil || m.ID != id || len(payload.Errors) != 1 {
		c.Fatalf("got %s %s %s, %v", m.Type, m.ID, m.Payload, err)
	}
	if m := c.next(); m.Type != "complete" {
		c.Fatalf("got %+v", m)
	}
	return payload.Errors[0].Extensions.Code
}

// TestWhoIsNoLongerKnownIsLetGo takes away what a caller came in with, while their WebSocket is open.
func TestWhoIsNoLongerKnownIsLetGo(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	url := s.serve()
	patient := s.dial(url)
	s.gone.Store(true)
	patient.subscribe("1", `mutation { receiveStock(productId: "p", input: {quantity: 1}) { outcome } }`)
	if code := patient.code("1"); code != "unauthenticated" {
		t.Errorf("an operation is refused with %q", code)
	}

	s.gone.Store(false)
	s.door.opts.Beat = 10 * time.Millisecond
	c := s.dial(url)
	c.subscribe("1", `subscription { events `+follow+` }`)
	c.notice("1")
	s.gone.Store(true)
	for {
		if _, err := c.read(); err != nil {
			if websocket.CloseStatus(err) != closeUnknown {
				t.Errorf("got %v, want status %d", err, closeUnknown)
			}
			break
		}
	}
}

func TestSoManyWebSocketsMayBeOpen(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.door.opts.MaxClients = 1
	url := s.serve()
	first := s.dial(url)
	dial := func() (int, error) {
		conn, answer, err := websocket.Dial(t.Context(), strings.Replace(url, "http", "ws", 1)+"/graphql", &websocket.DialOptions{
			Subprotocols: []string{"graphql-transport-ws"}, HTTPHeader: http.Header{"Caller": {"eve viewer"}}})
		if err == nil {
			conn.CloseNow()
		}
		return answer.StatusCode, err
	}
	if status, err := dial(); err == nil || status != http.StatusServiceUnavailable {
		t.Errorf("a second one is answered %d, %v", status, err)
	}
	first.conn.CloseNow()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := dial(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of one that is gone stays taken")
		}
	}
}

func TestOperationsOverAWebSocketCountAsRequests(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var err error
	if s.http, err = rest.New(s.engine.Engine, rest.Options{Authenticator: byHeader{}, Mounts: s.door.Mounts(), Rate: 1e-3}); err != nil {
		t.Fatal(err)
	}
	c := s.dial(s.serve()) // which was the one request that there is
	c.subscribe("1", `{ __typename }`)
	if code := c.code("1"); code != "rate_limited" {
		t.Errorf("an operation is refused with %q", code)
	}
}

// A client that takes nothing is let go with a code of its own once its queue is full, and nobody else waits for it.
func TestASlowClientIsClosed(t *testing.T) {
	t.Parallel()
	s := newShop(t, runtime.RoleAPI)
	url := s.serve()
	slow, quick := s.dial(url), s.dial(url)
	slow.conn.SetReadLimit(-1)
	const query = `subscription { events { live events { data } } }`
	slow.subscribe("1", query)
	slow.next()
	quick.subscribe("1", `subscription { events { revision } }`)
	quick.next()
	large := commands.CreateOrder{
		CustomerID: "c-1", Currency: "USD", Items: make([]commands.Item, 500),
		ShippingAddress: commands.Address{Street: "1 Main St", City: "Springfield", Country: "USA"},
		Payment:         commands.OrderPayment{Method: "paypal", Token: "tok_ok"},
	}
	for i := range large.Items {
		large.Items[i] = commands.Item{ProductID: strings.Repeat("p", 64), Quantity: 1, Price: money.FromInt(1)}
	}
	sent := 0
	for ; s.slowFollowers() == 0; sent++ {
		if sent == 5000 {
			t.Fatal("5,000 large events were not too much")
		}
		s.send(commands.Orders.Stream(fmt.Sprint("o-", sent)), large)
		quick.next()
	}
	for {
		if _, err := slow.read(); err != nil {
			if websocket.CloseStatus(err) != closeSlow {
				t.Errorf("after %d events: got %v, want status %d", sent, err, closeSlow)
			}
			return
		}
	}
}

func (s *shop) slowFollowers() float64 {
	s.Helper()
	families, err := s.engine.Metrics().Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "millstream_followers_slow_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	s.Fatal("the metric of slow followers is gone")
	return 0
}
