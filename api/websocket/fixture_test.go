package websocket

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A domain of notes, which are written and stamped, several times at once if need be.

type noteEvent interface {
	es.Event
	note()
}

type written struct {
	Text string `json:"text"`
}

type stamped struct {
	Number int `json:"number"`
}

func (written) EventType() string { return "NoteWritten" }
func (written) note()             {}
func (stamped) EventType() string { return "NoteStamped" }
func (stamped) note()             {}

type noteCommand interface {
	es.Command
	note()
}

type writeNote struct {
	Text string `json:"text"`
}

type stampNote struct {
	Times int `json:"times"`
}

func (writeNote) CommandType() string { return "WriteNote" }
func (writeNote) note()               {}
func (stampNote) CommandType() string { return "StampNote" }
func (stampNote) note()               {}

type note struct{}

func (n note) Decide(c noteCommand, _ es.Meta) (events []noteEvent, _ error) {
	switch c := c.(type) {
	case writeNote:
		events = append(events, written(c))
	case stampNote:
		for i := range c.Times {
			events = append(events, stamped{i + 1})
		}
	}
	return events, nil
}

func (n note) Evolve(noteEvent) note { return n }

var domain = es.Domain{
	Name:   "notes",
	Events: []es.EventDef{es.EventOf[written](1), es.EventOf[stamped](1)},
	Aggregates: []es.Aggregate{
		es.Define[note]("note", writeNote{}, stampNote{}),
		es.Define[note]("card", writeNote{}, stampNote{}),
	},
}

// callers are everyone, until nobody is known any more.
type callers struct{ gone atomic.Bool }

func (c *callers) Authenticate(r *http.Request) (access.Principal, error) {
	if c.gone.Load() {
		return access.Principal{}, access.ErrNoCredentials
	}
	return access.Dev().Authenticate(r)
}

// system is an engine with the door in front of it, as it is served.
type system struct {
	t      *testing.T
	engine *runtime.Engine
	door   *Door
	server *httptest.Server
	callers
}

func start(t *testing.T, opts Options, change ...func(*http.Server)) *system {
	t.Helper()
	nats := estest.StartServer(t, millstream.NATSConf)
	s := &system{t: t}
	var err error
	s.engine, err = runtime.Start(t.Context(), runtime.Config{
		Domain: domain, Connect: nats.Connect, DataDir: t.TempDir(), Roles: []runtime.Role{runtime.RoleAPI}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.door = New(s.engine, opts)
	handler, err := rest.New(s.engine, rest.Options{Authenticator: &s.callers, Mounts: s.door.Mounts(), Rate: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(nil)
	s.server.Config = rest.Server("", handler)
	for _, f := range change {
		f(s.server.Config)
	}
	s.server.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.door.Close(ctx); err != nil {
			t.Error(err)
		}
		s.server.Close()
		if err := s.engine.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// do executes a command on a stream and returns the revision that it led to.
func (s *system) do(stream string, c es.Command, correlation string) es.Revision {
	s.t.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	category, id, _ := strings.Cut(stream, "/")
	reply := s.engine.Execute(s.t.Context(), es.Request{Type: c.CommandType(), Data: data, Meta: es.Meta{Stream: es.Stream{Category: category, ID: id}, Correlation: correlation}})
	if reply.Outcome != es.Accepted {
		s.t.Errorf("%+v %+v", reply, reply.Error) // not Fatal: some call from a goroutine of their own
	}
	return reply.Revision
}

// client is one WebSocket client.
type client struct {
	*websocket.Conn
	t *testing.T
}

func (s *system) dial(opts *websocket.DialOptions) *client {
	s.t.Helper()
	if opts == nil {
		opts = &websocket.DialOptions{Subprotocols: []string{Protocol}}
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.server.URL+"/ws", opts)
	if err != nil {
		s.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	s.t.Cleanup(func() { conn.CloseNow() })
	return &client{conn, s.t}
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if err := c.Write(c.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

// received is any message of the server.
type received struct {
	Type, ID, Code, Message, Pointer string
	Revision                         es.Revision
	Events                           []struct {
		ID, Type, Subject, CorrelationID string
		Version                          uint64
		Data                             struct {
			Text   string
			Number int
		}
	}
}

// String tells a message: "a: 3 note/n-1 NoteWritten", "a: live 3", "error unknown_type".
func (r received) String() string {
	switch r.Type {
	case typeEvents:
		text := fmt.Sprintf("%s: %d %s", r.ID, r.Revision, r.Events[0].Subject)
		for _, e := range r.Events {
			text += " " + e.Type
		}
		return text
	case typeLive:
		return fmt.Sprintf("%s: live %d", r.ID, r.Revision)
	}
	return strings.Join(strings.Fields(r.Type+" "+r.ID+" "+r.Code), " ")
}

func (c *client) read() (received, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	var r received
	_, data, err := c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	return r, err
}

func (c *client) want(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		r, err := c.read()
		if err != nil {
			c.t.Fatalf("instead of %q: %v", text, err)
		}
		if r.String() != text {
			c.t.Errorf("got %q (%s), want %q", r, r.Message, text)
		}
	}
}

// wantClosed reads on until the server ends the connection.
func (c *client) wantClosed(code websocket.StatusCode) (last es.Revision) {
	c.t.Helper()
	for {
		r, err := c.read()
		if err != nil {
			if got := websocket.CloseStatus(err); got != code {
				c.t.Errorf("closed with %d (%v), want %d", got, err, code)
			}
			return last
		}
		if r.Type == typeEvents {
			last = r.Revision
		}
	}
}

// source reads server-sent events.
type source struct {
	t *testing.T
	*http.Response
	lines *bufio.Scanner
}

func (s *system) open(query string, header http.Header) *source {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.server.URL+"/events"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	answer, err := http.DefaultTransport.(*http.Transport).Clone().RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { answer.Body.Close() })
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 8<<20)
	return &source{s.t, answer, lines}
}

// next returns the fields of the next message, with comments as field "".
func (s *source) next() (map[string]string, bool) {
	found := map[string]string{}
	for s.lines.Scan() {
		line := s.lines.Text()
		if line == "" {
			return found, true
		}
		name, value, _ := strings.Cut(line, ": ")
		found[name] = value
		if strings.HasPrefix(line, ":") {
			found = map[string]string{"": strings.TrimPrefix(line, ": ")}
		}
	}
	return nil, false
}

// want reads messages, heartbeats left out: "7 note/n-1 NoteWritten", "live 7".
func (s *source) want(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		m, ok := s.next()
		for ok && (m["data"] == "") {
			m, ok = s.next()
		}
		if !ok {
			s.t.Fatalf("the stream ended instead of %q: %v", text, s.lines.Err())
		}
		var r received
		if err := json.Unmarshal([]byte(m["data"]), &r); err != nil {
			s.t.Fatalf("%v: %v", m, err)
		}
		got := "live " + m["id"]
		if m["event"] == "" {
			r.Type = typeEvents
			got = strings.TrimPrefix(r.String(), ": ")
		}
		if got != text || m["id"] != fmt.Sprint(r.Revision) {
			s.t.Errorf("got %q with id %s, want %q", got, m["id"], text)
		}
	}
}
