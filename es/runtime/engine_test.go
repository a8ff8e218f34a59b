package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
)

// testServer is one embedded server; engines come and go on it.
type testServer struct {
	*natsstore.Server
	conn *nats.Conn
	js   jetstream.JetStream
	dir  string
}

func newTestServer(t *testing.T) *testServer {
	t.Helper()
	s := &testServer{Server: estest.StartServer(t, millstream.NATSConf), dir: t.TempDir()}
	var err error
	if s.conn, err = s.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	if s.js, err = jetstream.New(s.conn); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *testServer) config(change ...func(*Config)) Config {
	c := Config{
		Domain: potsDomain(), Connect: s.Connect, DataDir: s.dir, Dev: true,
		Logger: slog.New(slog.DiscardHandler), PinTTL: 600 * time.Millisecond,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func (s *testServer) start(t *testing.T, change ...func(*Config)) *Engine {
	t.Helper()
	e, err := Start(t.Context(), s.config(change...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeEngine(t, e) })
	return e
}

func closeEngine(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// eventually waits for a condition that something else brings about.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s for: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *testServer) call(t *testing.T, subject, body string, header nats.Header) (reply es.Reply, code string) {
	t.Helper()
	m, err := s.conn.RequestMsg(&nats.Msg{Subject: subject, Data: []byte(body), Header: header}, 10*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		t.Fatalf("%s: %q: %v", subject, m.Data, err)
	}
	return reply, m.Header.Get("Nats-Service-Error-Code")
}

func potCoins(t *testing.T, e *Engine, id string) int {
	t.Helper()
	at, err := e.StateAt(t.Context(), pots.Stream(id), es.Range{})
	if err != nil {
		return -1
	}
	return at.State.(pot).Coins
}

func TestCallsAreAnsweredWithOutcomeAndCode(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	s.start(t)
	header := nats.Header{"Nats-Msg-Id": {"c-1"}, "User-Id": {"ada"}, "Correlation-Id": {"story"}, "Nats-Expected-Last-Sequence": {"99"}}
	reply, code := s.call(t, "call.pot.a.PutCoins", `{"coins":3}`, header)
	want := es.Reply{CommandID: "c-1", Outcome: es.Accepted, Stream: "pot/a", Revision: 1, Version: 1, Events: []string{"CoinsPut"}, Durability: es.Fast}
	if diff := cmp.Diff(want, reply); diff != "" || code != "" {
		t.Error(diff, code)
	}
	for name, c := range map[string]struct {
		subject, body, id string
		outcome           es.OutcomeKind
		code, problem     string
	}{
		"rejected":               {"call.pot.a.TakeCoins", `{"coins":9}`, "", es.RejectedReply, "409", "too_few_coins"},
		"unknown command":        {"call.pot.a.PutCoin", `{}`, "", es.Invalid, "404", "unknown_command"},
		"unknown category":       {"call.pit.a.PutCoins", `{}`, "", es.Invalid, "404", "unknown_category"},
		"too few tokens":         {"call.pot.a", `{}`, "", es.Invalid, "400", "bad_subject"},
		"too many tokens":        {"call.pot.a.b.PutCoins", `{}`, "", es.Invalid, "400", "bad_subject"},
		"a bad id":               {"call.pot.a$b.PutCoins", `{"coins":1}`, "", es.Invalid, "400", "bad_id"},
		"a long id":              {"call.pot." + strings.Repeat("a", 65) + ".PutCoins", `{"coins":1}`, "", es.Invalid, "400", "bad_id"},
		"the engine's id":        {"call.pot.a.PutCoins", `{"coins":1}`, "ms-1", es.Invalid, "400", "bad_id"},
		"a bad command id":       {"call.pot.a.PutCoins", `{"coins":1}`, "a b", es.Invalid, "400", "bad_id"},
		"malformed":              {"call.pot.a.PutCoins", `{"coins":`, "", es.Invalid, "400", "malformed"},
		"against the schema":     {"call.pot.a.PutCoins", `{"coins":-1}`, "", es.Invalid, "422", "schema"},
		"the id of another body": {"call.pot.a.PutCoins", `{"coins":4}`, "c-1", es.Invalid, "422", "id_reused"},
		"too large":              {"call.pot.a.TakeCoins", `{"coins":1,"for":"` + strings.Repeat("x", 1<<20) + `"}`, "", es.Invalid, "413", "too_large"},
		"a panic in the domain":  {"call.pot.a.PanicAtCoins", `{}`, "", es.Failed, "500", "internal"},
	} {
		h := nats.Header{}
		if c.id != "" {
			h.Set("Nats-Msg-Id", c.id)
		}
		reply, code := s.call(t, c.subject, c.body, h)
		if reply.Outcome != c.outcome || code != c.code || reply.Error == nil || reply.Error.Code != c.problem {
			t.Errorf("%s: outcome %s, code %s, %+v; want %s %s %s", name, reply.Outcome, code, reply.Error, c.outcome, c.code, c.problem)
		}
	}
	stored, err := s.js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := stored.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d commits are stored, want the one accepted", n)
	}
	m, err := stored.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if user, correlation := m.Header.Get("ce-userid"), m.Header.Get("ce-correlationid"); user != "ada" || correlation != "story" {
		t.Errorf("user %q and correlation %q, want ada and story", user, correlation)
	}
}

func TestHelpCanBePasted(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	s.start(t)
	for _, subject := range []string{"call.help", "call.pot.help"} {
		m, err := s.conn.Request(subject, nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(m.Data), `nats req call.pot.p-1.PutCoins '{"coins":1}'`) {
			t.Errorf("%s:\n%s", subject, m.Data)
		}
	}
	if _, code := s.call(t, "call.pit.help", "", nil); code != "404" {
		t.Errorf("help on an unknown category: code %s, want 404", code)
	}
}

func TestCallsAreAServiceThatCanBeDiscovered(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	ask := func(verb string, answer any) {
		t.Helper()
		m, err := s.conn.Request("$SRV."+verb+"."+e.cfg.Domain.Name, nil, 5*time.Second)
		if err == nil {
			err = json.Unmarshal(m.Data, answer)
		}
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
	}
	var ping micro.Ping
	var info micro.Info
	ask("PING", &ping)
	ask("INFO", &info)
	if ping.Name != e.cfg.Domain.Name || ping.ID == "" || ping.ID != info.ID || ping.Type != micro.PingResponseType || info.Type != micro.InfoResponseType {
		t.Errorf("%+v, %+v", ping, info)
	}
	if i := slices.IndexFunc(info.Endpoints, func(e micro.EndpointInfo) bool { return e.Subject == "call.pot.*.PutCoins" }); i < 0 || info.Endpoints[i].Metadata["example"] != `{"coins":1}` {
		t.Errorf("%+v", info.Endpoints)
	}
	for range 2 {
		s.call(t, "call.pot.a.PutCoins", `{"coins":1}`, nil)
	}
	s.call(t, "call.pot.a.PutCoins", `{"coins":-1}`, nil)
	s.call(t, "call.pot.a.PutCoin", `{}`, nil) // nobody's
	eventually(t, "the figures", func() bool {
		var stats micro.Stats
		ask("STATS", &stats)
		i := slices.IndexFunc(stats.Endpoints, func(e *micro.EndpointStats) bool { return e.Name == "pot-PutCoins" })
		if i < 0 || stats.Type != micro.StatsResponseType {
			t.Fatalf("%+v", stats)
		}
		of := stats.Endpoints[i]
		return of.NumRequests == 3 && of.NumErrors == 1 && strings.HasPrefix(of.LastError, "422:") && of.AverageProcessingTime > 0
	})
}

func TestQueuedCommandsOfOneStreamAreDoneInOrder(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	const n = 50
	for i := range n {
		for _, id := range []string{"a", "b"} {
			for _, c := range []es.Command{putCoins{i + 1}, takeCoins{Coins: i + 1}} { // any other order is rejected
				if _, err := e.Enqueue(t.Context(), request(id, c, fmt.Sprintf("%s-%s-%d", id, c.CommandType(), i))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var reply es.Reply
	eventually(t, "the last outcome", func() bool {
		stream, err := s.js.Stream(t.Context(), natsstore.OutcomesStream)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), fmt.Sprintf("outcomes.pot.b.b-TakeCoins-%d", n-1))
		return err == nil && json.Unmarshal(m.Data, &reply) == nil
	})
	if reply.Outcome != es.Accepted || reply.Version != 2*n {
		t.Errorf("the last outcome: %+v", reply)
	}
	for _, id := range []string{"a", "b"} {
		eventually(t, "an empty pot "+id, func() bool { return potCoins(t, e, id) == 0 })
	}
}

func TestAPoisonedQueueMessageIsPutAsideWhateverHeadersItCarries(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	poison := nats.NewMsg("commands.pot.a.PutCoins")
	poison.Data = []byte(`{"coins":"many"}`)
	poison.Header = nats.Header{"Nats-Msg-Id": {"bad-1"}, "Evil": {"yes"}, "Correlation-Id": {"story"}}
	if _, err := s.js.PublishMsg(t.Context(), poison); err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(t.Context(), "commands.pot.a.PutCoins", []byte(`{"coins":2}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command behind it", func() bool { return potCoins(t, e, "a") == 2 })
	stream, err := s.js.Stream(t.Context(), natsstore.DeadLettersStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), "deadletters.commands.>")
	if err != nil {
		t.Fatal(err)
	}
	var letter DeadLetter
	if err := json.Unmarshal(m.Data, &letter); err != nil {
		t.Fatal(err)
	}
	if letter.Subject != poison.Subject || string(letter.Data) != string(poison.Data) || letter.Headers["Evil"][0] != "yes" ||
		!strings.Contains(letter.Error, "/coins") || letter.Attempts != 1 || letter.Sequence != 1 {
		t.Errorf("the dead letter: %+v", letter)
	}
	if got := m.Header.Get("Evil"); got != "" {
		t.Errorf("a header of the poisoned message became one of the dead letter: %q", got)
	}
}

func TestAQueuedCommandWithoutAnIDTakesEffectOnce(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	for range 3 {
		if _, err := s.js.Publish(t.Context(), "commands.pot.a.PutCoins", []byte(`{"coins":2}`)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three commands", func() bool { return potCoins(t, e, "a") == 6 })
}

func TestADirtyStartIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no domain":      func(c *Config) { c.Domain = es.Domain{} },
		"no directory":   func(c *Config) { c.DataDir = "" },
		"no connection":  func(c *Config) { c.Connect = nil },
		"unknown role":   func(c *Config) { c.Roles = []Role{"cook"} },
		"unknown delay":  func(c *Config) { c.Delays = map[string]time.Duration{"nobody.timer": 1} },
		"unlisted event": func(c *Config) { c.Domain.Events = c.Domain.Events[:1] },
	} {
		c := Config{Domain: potsDomain(), DataDir: t.TempDir(), Connect: func(...nats.Option) (*nats.Conn, error) { return nil, nats.ErrNoServers }}
		change(&c)
		if e, err := Start(t.Context(), c); err == nil {
			closeEngine(t, e)
			t.Errorf("%s: started", name)
		}
	}
}

func TestASecondProcessOnTheSameReadModelsIsRefused(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	first := s.start(t)
	if e, err := Start(t.Context(), s.config()); err == nil || !strings.Contains(err.Error(), "in use") {
		closeEngine(t, e)
		t.Errorf("a second engine on one directory: %v", err)
	}
	closeEngine(t, first)
	s.start(t)
}
