package websocket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
)

func TestManySubscriptionsOnOneConnection(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.do("note/n-1", writeNote{"one"}, "x")
	s.do("card/c-1", stampNote{2}, "y")
	s.do("note/n-2", stampNote{1}, "x")
	c := s.dial(nil)
	c.send(`{"type":"subscribe","id":"all"}`)
	c.want("all: 1 note/n-1 NoteWritten", "all: 2 card/c-1 NoteStamped NoteStamped", "all: 3 note/n-2 NoteStamped", "all: live 3")
	c.send(`{"type":"subscribe","id":"one","stream":"note/n-2","after":0}`)
	c.want("one: 3 note/n-2 NoteStamped", "one: live 3")
	c.send(`{"type":"subscribe","id":"cards","category":"card","after":2}`)
	c.want("cards: live 3")
	c.send(`{"type":"subscribe","id":"types","types":["NoteWritten"]}`)
	c.want("types: 1 note/n-1 NoteWritten", "types: live 3")
	c.send(`{"type":"subscribe","id":"story","correlation":"y"}`)
	c.want("story: 2 card/c-1 NoteStamped NoteStamped", "story: live 3")
	c.send(`{"type":"subscribe","id":"new","category":"note","new":true}`)
	c.want("new: live 3")

	s.do("card/c-1", writeNote{"<b>ü\"\n"}, "y")
	seen := map[string]received{}
	for range 4 {
		r, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		seen[r.ID] = r
	}
	for _, id := range []string{"all", "cards", "types", "story"} {
		if got := seen[id].String(); got != id+": 4 card/c-1 NoteWritten" {
			t.Errorf("%s got %q", id, got)
			continue
		}
		if e := seen[id].Events[0]; e.Version != 3 || e.CorrelationID != "y" || e.Data.Text != "<b>ü\"\n" || !strings.HasSuffix(e.ID, "/1") {
			t.Errorf("%s got %+v", id, e)
		}
	}
	c.send(`{"type":"unsubscribe","id":"all"}`)
	c.want("ended all unsubscribed")
	s.do("card/c-2", stampNote{1}, "z")
	c.want("cards: 5 card/c-2 NoteStamped")
	c.send(`{"type":"subscribe","id":"all","after":4}`)
	c.want("all: 5 card/c-2 NoteStamped", "all: live 5")
}

func TestWhatCannotBeFollowedLeavesTheConnectionOpen(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.do("note/n-1", writeNote{"one"}, "")
	c := s.dial(nil)
	c.send(`{"type":"subscribe","id":"a","category":"card"}`)
	c.want("a: live 1")
	for message, want := range map[string]string{
		``:                          "error malformed|one JSON object",
		`[]`:                        "error malformed|one JSON object",
		`"subscribe"`:               "error malformed|one JSON object",
		`{"type":"ping"`:            "error malformed|not JSON",
		`{"type":"ping"} {}`:        "error malformed|something stands behind",
		`{"type":"ping","type":""}`: `error malformed|field "type" stands twice`,
		`{"type":"subscribe","id":"\ud800","x":}`: "error malformed|not JSON",
		`{}`:                                                                       `error unknown_type|known are subscribe, unsubscribe, ping`,
		`{"type":7}`:                                                               "error malformed|type must be a text, found 7",
		`{"type":"subscibe","id":"b"}`:                                             "error b unknown_type|did you mean subscribe?",
		`{"type":"subscribe"}`:                                                     "error bad_id|id is missing",
		`{"type":"subscribe","id":""}`:                                             "error bad_id|id is missing",
		`{"type":"subscribe","id":"a b"}`:                                          "error bad_id|must match",
		`{"type":"subscribe","id":7}`:                                              "error bad_id|must match",
		`{"type":"subscribe","id":"a"}`:                                            "error a id_in_use|there already",
		`{"type":"subscribe","id":"b","categry":"note"}`:                           "error b unknown_field|did you mean category?",
		`{"type":"unsubscribe","id":"b","after":1}`:                                "error b unknown_field|known are type, id",
		`{"type":"ping","id":"b"}`:                                                 "error b unknown_field|known are type",
		`{"type":"subscribe","id":"b","category":"notes"}`:                         "error b unknown_category|did you mean note?",
		`{"type":"subscribe","id":"b","category":null}`:                            "error b malformed|category must be a text",
		`{"type":"subscribe","id":"b","stream":"note"}`:                            "error b bad_id|must be written category/id",
		`{"type":"subscribe","id":"b","stream":"note/*"}`:                          "error b bad_id|must match",
		`{"type":"subscribe","id":"b","stream":"note/a","category":"card"}`:        "error b malformed|not of category",
		`{"type":"subscribe","id":"b","types":["NoteWriten"]}`:                     "error b unknown_event|did you mean NoteWritten?",
		`{"type":"subscribe","id":"b","types":"NoteWritten"}`:                      "error b malformed|list of event types",
		`{"type":"subscribe","id":"b","after":-1}`:                                 "error b malformed|whole number from 0",
		`{"type":"subscribe","id":"b","after":"1"}`:                                "error b malformed|whole number from 0",
		`{"type":"subscribe","id":"b","after":1.5}`:                                "error b malformed|whole number from 0",
		`{"type":"subscribe","id":"b","after":99}`:                                 "error b in_future|last revision is 1",
		`{"type":"subscribe","id":"b","after":1,"new":true}`:                       "error b malformed|either",
		`{"type":"subscribe","id":"b","new":1}`:                                    "error b malformed|true or false",
		`{"type":"subscribe","id":"b","correlation":"\u0000"}`:                     "error b malformed|printable",
		`{"type":"unsubscribe","id":"b"}`:                                          "error b unknown_subscription|did you mean a?",
		`{"type":"subscribe","id":"b","` + strings.Repeat("x", 5000) + `":"` + "y": "error malformed|not JSON",
	} {
		c.send("%s", message)
		text, says, _ := strings.Cut(want, "|")
		r, err := c.read()
		if err != nil {
			t.Fatalf("%.80s: %v", message, err)
		}
		if r.String() != text || !strings.Contains(r.Message, says) || len(r.Message) > 300 {
			t.Errorf("%.80s: got %q: %s", message, r, r.Message)
		}
	}
	c.send(`{"type":"ping"}`)
	c.want("pong")
	s.do("card/c-1", stampNote{1}, "")
	c.want("a: 2 card/c-1 NoteStamped")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := start(t, Options{MaxClients: 2})
	c := s.dial(nil)
	for i := range maxSubscriptions {
		c.send(`{"type":"subscribe","id":"s-%d"}`, i)
		c.want(fmt.Sprintf("s-%d: live 0", i))
	}
	c.send(`{"type":"subscribe","id":"more"}`)
	c.want("error more too_many_subscriptions")
	large := s.dial(nil)
	answer, err := http.Get(s.server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Errorf("the third client: %s", answer.Status)
	}
	large.send(`{"type":"ping","%s":1}`, strings.Repeat("x", maxMessage))
	large.wantClosed(websocket.StatusMessageTooBig)
	c.Close(websocket.StatusNormalClosure, "")
	s.emptied()

	flood := s.dial(nil)
	go func() { // until it is thrown out
		for flood.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`)) == nil {
		}
	}()
	flood.wantClosed(CloseTooFrequent)
	binary := s.dial(nil)
	if err := binary.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	binary.wantClosed(websocket.StatusUnsupportedData)
}

// emptied waits until no client is left.
func (s *system) emptied() {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		s.door.mu.Lock()
		clients := s.door.clients
		s.door.mu.Unlock()
		if clients == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d clients are still there", clients)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestResumeAfterACutIsExact cuts a client's connection again and again while others write.
func TestResumeAfterACutIsExact(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := start(t, Options{})
	const commits = 300
	go func() {
		for i := range commits {
			s.do(fmt.Sprintf("note/n-%d", i%3), stampNote{i%4 + 1}, "")
		}
	}()
	var seen, want []string
	var last es.Revision
	for cuts := 0; last < commits; cuts++ {
		c := s.dial(nil)
		c.send(`{"type":"subscribe","id":"a","after":%d}`, last)
		for stay := random.IntN(40); stay >= 0 && last < commits; stay-- {
			r, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if r.Type == typeEvents {
				seen = append(seen, fmt.Sprintf("%d %d", r.Revision, len(r.Events)))
			}
			last = max(last, r.Revision)
		}
		c.CloseNow()
	}
	for r := range commits {
		want = append(want, fmt.Sprintf("%d %d", r+1, r%4+1))
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	s.emptied()
}

func TestASlowClientIsClosedAndOthersGoOn(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	quick := s.dial(nil)
	quick.send(`{"type":"subscribe","id":"q"}`)
	quick.want("q: live 0")
	slow := s.dial(nil)
	slow.send(`{"type":"subscribe","id":"s"}`)
	slow.want("s: live 0")
	text := strings.Repeat("x", 512<<10)
	const commits = 80 // 40 MiB: more than its queue and all buffers on the way hold
	for i := range es.Revision(commits) {
		s.do("note/n-1", writeNote{text}, "")
		quick.want(fmt.Sprintf("q: %d note/n-1 NoteWritten", i+1))
	}
	last := slow.wantClosed(CloseSlow)
	if last >= commits {
		t.Fatalf("it got everything, up to %d", last)
	}
	again := s.dial(nil)
	again.send(`{"type":"subscribe","id":"s","after":%d}`, last)
	for last++; last <= commits; last++ {
		again.want(fmt.Sprintf("s: %d note/n-1 NoteWritten", last))
	}
	again.want(fmt.Sprintf("s: live %d", commits))
}

func TestAPeerThatIsGoneIsNoticed(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Beat: 20 * time.Millisecond})
	pings := make(chan struct{}, 1000)
	lives := s.dial(&websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
		pings <- struct{}{}
		return true
	}})
	lives.send(`{"type":"subscribe","id":"a"}`)
	lives.want("a: live 0")
	reading := make(chan error, 1)
	go func() {
		r, err := lives.read()
		if err == nil && r.String() != "a: 1 note/n-1 NoteStamped" {
			err = errors.New(r.String())
		}
		reading <- err
	}()
	// Who is gone neither reads nor answers: a connection without a client behind it.
	gone, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if _, err := fmt.Fprintf(gone, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := gone.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, gone); err != nil {
		t.Errorf("it is not cut off: %v", err)
	}
	for range 10 {
		select {
		case <-pings:
		case <-time.After(20 * time.Second):
			t.Fatal("no ping")
		}
	}
	s.do("note/n-1", stampNote{1}, "")
	if err := <-reading; err != nil {
		t.Errorf("who answers: %v", err)
	}
}

func TestWhoMayConnect(t *testing.T) {
	t.Parallel()
	s := start(t, Options{TrustedOrigins: []string{"https://shop.example"}})
	for name, c := range map[string]struct {
		header http.Header
		status int
		code   string
	}{
		"no browser":           {http.Header{}, http.StatusSwitchingProtocols, ""},
		"the same origin":      {http.Header{"Origin": {s.server.URL}}, http.StatusSwitchingProtocols, ""},
		"a trusted one":        {http.Header{"Origin": {"https://shop.example"}}, http.StatusSwitchingProtocols, ""},
		"its plain twin":       {http.Header{"Origin": {"http://shop.example"}}, http.StatusForbidden, "cross_origin"},
		"another":              {http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden, "cross_origin"},
		"none that can be":     {http.Header{"Origin": {"null"}}, http.StatusForbidden, "cross_origin"},
		"a suffix":             {http.Header{"Origin": {"https://evil-shop.example"}}, http.StatusForbidden, "cross_origin"},
		"another protocol":     {http.Header{"Sec-Websocket-Protocol": {"graphql-transport-ws"}}, http.StatusBadRequest, "unknown_protocol"},
		"ours among others":    {http.Header{"Sec-Websocket-Protocol": {"x, " + Protocol}}, http.StatusSwitchingProtocols, ""},
		"plain HTTP":           {http.Header{"Upgrade": nil}, http.StatusUpgradeRequired, "upgrade_required"},
		"a key that is no key": {http.Header{"Sec-Websocket-Key": {"x"}}, http.StatusBadRequest, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
		for k, v := range c.header {
			r.Header[k] = v
		}
		transport := &http.Transport{DisableKeepAlives: true}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body := ""
		if answer.StatusCode != http.StatusSwitchingProtocols {
			data, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Error(err)
			}
			body = string(data)
		}
		answer.Body.Close()
		if answer.StatusCode != c.status || !strings.Contains(body, c.code) {
			t.Errorf("%s: %s %s", name, answer.Status, body)
		}
	}
}

func TestTheDoorClosesCleanly(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	c, idle := s.dial(nil), s.dial(nil)
	c.send(`{"type":"subscribe","id":"a"}`)
	c.want("a: live 0")
	events := s.open("", nil)
	events.want("live 0")
	closed := make(chan error, 1)
	go func() { closed <- s.door.Close(t.Context()) }()
	go idle.wantClosed(websocket.StatusGoingAway)
	c.wantClosed(websocket.StatusGoingAway)
	for more := true; more; {
		_, more = events.next()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if answer := s.open("", nil); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closed door answers %s", answer.Status)
	}
}

func TestWhoStaysLongShowsAgainWhoTheyAre(t *testing.T) {
	t.Parallel()
	s := start(t, Options{MaxAge: 10 * time.Millisecond})
	s.dial(nil).wantClosed(websocket.StatusServiceRestart)
	events := s.open("", nil)
	for more := true; more; {
		_, more = events.next()
	}
	s.emptied()
}

// TestWhoIsNoLongerKnownIsLetGo takes away what callers came in with, while they follow.
func TestWhoIsNoLongerKnownIsLetGo(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Beat: 10 * time.Millisecond})
	c, source := s.dial(nil), s.open("", nil)
	c.send(`{"type":"subscribe","id":"a"}`)
	c.want("a: live 0")
	source.want("live 0")
	s.callers.gone.Store(true)
	c.wantClosed(CloseUnknown)
	var last map[string]string
	for {
		message, open := source.next()
		if !open {
			break
		}
		last = message
	}
	if last["event"] != "ended" || !strings.Contains(last["data"], `"code":"unauthenticated"`) {
		t.Errorf("the last event is %v", last)
	}
}

func FuzzClientMessage(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[`, `{"type":"ping"}`, `{"type":"unsubscribe","id":"a"}`, `{"type":"subscribe","id":"a","stream":"order/o-1","after":7}`,
		`{"type":"subscribe","id":"a","types":["A","B"],"correlation":"c","new":true}`, `{"type":"subscribe","id":"a","after":1e400}`, `{"a/b~":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		var invalid *es.InvalidError
		switch {
		case err != nil && !errors.As(err, &invalid):
			t.Errorf("%q: %v is no InvalidError", data, err)
		case err != nil && (invalid.Code == "" || invalid.Message == ""):
			t.Errorf("%q: %+v", data, invalid)
		case m.ID != "" && !es.ValidID(m.ID):
			t.Errorf("%q: id %q", data, m.ID)
		case err == nil && fields[m.Type] == nil:
			t.Errorf("%q: type %q", data, m.Type)
		}
		if err != nil && !json.Valid(failed(typeError, m.ID, err).encode()) {
			t.Errorf("%q: the answer is no JSON", data)
		}
	})
}
