package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// fragile is a saga that panics at what is on the list of a test, by stream id or timer name.
type fragile struct{ Heard []string }

var fragility sync.Map

func (f fragile) React(r es.Recorded) (fragile, []es.Effect) {
	what := r.Stream.ID
	if w, ok := r.Event.(es.Woken); ok {
		what = w.Name
	}
	if _, broken := fragility.Load(what); broken {
		panic("broken at " + what)
	}
	f.Heard = append(append([]string{}, f.Heard...), fmt.Sprintf("%s %d", r.EventType(), r.Version))
	if e, ok := r.Event.(coinsTaken); ok && strings.HasPrefix(e.For, "wake-") {
		return f, []es.Effect{es.Wake{Name: e.For, At: r.Time}}
	}
	return f, nil
}

var fragiles = es.DefineSaga[fragile]("fragile", es.Interest{Handles: []es.Event{coinsTaken{}, coinsPut{}}}, func(r es.Recorded) (string, bool) {
	return r.Stream.ID, true
})

// letters returns the open ones of a consumer.
func (s *testServer) letters(t testing.TB, consumer string) (letters []DeadLetter) {
	t.Helper()
	err := NewLetters(s.js).Each(t.Context(), consumer, func(l DeadLetter) error {
		letters = append(letters, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return letters
}

// letter waits for the only open one of a consumer.
func (s *testServer) letter(t testing.TB, consumer string) DeadLetter {
	t.Helper()
	var letters []DeadLetter
	eventually(t, "a dead letter of "+consumer, func() bool { letters = s.letters(t, consumer); return len(letters) == 1 })
	return letters[0]
}

func (s *testServer) act(t testing.TB, consumer string, r LetterRequest) []LetterResult {
	t.Helper()
	r.By = "ada"
	reply, err := ActOnLetter(t.Context(), s.conn, consumer, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Kind, r.ID, err)
	}
	return reply.Results
}

func (s *testServer) retry(t testing.TB, l DeadLetter) LetterResult {
	t.Helper()
	return s.act(t, l.Consumer, LetterRequest{Kind: "retry", ID: l.ID, Reason: "mended"})[0]
}

func (s *testServer) operations(t testing.TB, id string) []Operation {
	t.Helper()
	_, _, done, err := NewLetters(s.js).Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func (s *testServer) queue(t testing.TB, subject, body, id string) {
	t.Helper()
	var opts []jetstream.PublishOpt
	if id != "" {
		opts = append(opts, jetstream.WithMsgID(id))
	}
	if _, err := s.js.Publish(t.Context(), subject, []byte(body), opts...); err != nil {
		t.Fatal(err)
	}
}

// older is the domain before TakeCoins was invented.
func older(c *Config) { c.Domain.Aggregates = []es.Aggregate{es.Define[pot]("pot", putCoins{})} }

func fragileSaga(c *Config) { c.Domain.Sagas = []es.Saga{fragiles} }

func TestAQueuedCommandIsRetriedOnceItCanBeUnderstood(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, older)
	s.queue(t, "commands.pot.a.PutCoins", `{"coins":5}`, "")
	s.queue(t, "commands.pot.a.TakeCoins", `{"coins":2}`, "take-1")
	letter := s.letter(t, "commands")
	if got := s.retry(t, letter); got.State != Parked || got.Outcome != es.Invalid || got.Status != 500 || !strings.Contains(got.Error, "TakeCoins") {
		t.Errorf("a retry before anything was mended: %+v", got)
	}
	if l := s.letter(t, "commands"); l.Attempts != letter.Attempts+1 || l.ID != letter.ID || !l.FailedAt.After(letter.FailedAt) {
		t.Errorf("after a failed retry: %+v, before: %+v", l, letter)
	}
	closeEngine(t, e)

	e = s.start(t)
	want := LetterResult{ID: letter.ID, Consumer: "commands", Subject: letter.Subject, State: Retried, CommandID: "take-1", Outcome: es.Accepted}
	if got := s.retry(t, letter); got != want {
		t.Errorf("the retry: %+v, want %+v", got, want)
	}
	want.Already = true
	for range 2 {
		if got := s.retry(t, letter); got != want {
			t.Errorf("once more: %+v, want %+v", got, want)
		}
	}
	if n := potCoins(t, e, "a"); n != 3 {
		t.Errorf("%d coins, want 3", n)
	}
	if letters := s.letters(t, ""); len(letters) != 0 {
		t.Errorf("still open: %+v", letters)
	}
	ops := s.operations(t, letter.ID)
	if len(ops) != 2 || ops[0].State != Parked || ops[0].Error == "" || ops[1].State != Retried || ops[1].Reply.Outcome != es.Accepted {
		t.Fatalf("the operations: %+v", ops)
	}
	for _, op := range ops {
		if op.By != "ada" || op.Reason != "mended" || op.At.IsZero() || op.Letter.Body() != nil || op.Letter.Headers != nil || len(op.SHA256) != 64 {
			t.Errorf("an operation: %+v", op)
		}
	}
	// What comes a second time, since its acknowledgement was lost, does not rise again.
	added, settled, err := e.letters.add(t.Context(), letter)
	if added || !settled || err != nil {
		t.Errorf("put aside again: %v %v %v", added, settled, err)
	}
}

func TestASagaHearsARetriedEventAlsoAfterLaterOnesAndOnlyOnce(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, fragileSaga)
	id := "glass"
	fragility.Store(id, true)
	wantOutcome(t, e.Execute(t.Context(), request(id, putCoins{3}, "")), es.Accepted)
	letter := s.letter(t, "saga-fragile")
	if letter.Key != id || letter.Attempts != attemptsOfUnknown {
		t.Errorf("the dead letter: %+v", letter)
	}
	if got := s.retry(t, letter); got.State != Parked || !strings.Contains(got.Error, "broken at glass") {
		t.Errorf("a retry while still broken: %+v", got)
	}
	fragility.Delete(id)
	wantOutcome(t, e.Execute(t.Context(), request(id, putCoins{4}, "")), es.Accepted)
	heard := func() (f fragile) {
		entry, err := natsstore.NewSagaLog(s.js).Last(t.Context(), "fragile", id)
		if err != nil {
			t.Fatal(err)
		}
		var tr transition
		if entry.Sequence > 0 {
			if err := errors.Join(json.Unmarshal(entry.Data, &tr), json.Unmarshal(tr.State, &f)); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	eventually(t, "the later event", func() bool { return len(heard().Heard) == 1 })
	if got := s.retry(t, letter); got.State != Retried || got.Error != "" {
		t.Errorf("the retry: %+v", got)
	}
	if got := strings.Join(heard().Heard, ", "); got != "CoinsPut 2, CoinsPut 1" {
		t.Errorf("heard %s", got)
	}
	// As after a crash between the handler's work and its record: the letter is there again.
	if err := e.letters.write(t.Context(), DeadLetter{ID: "ms-again", Consumer: letter.Consumer, Key: letter.Key, Subject: letter.Subject,
		Sequence: letter.Sequence, Time: letter.Time, Headers: letter.Headers, Data: letter.Data}, 0); err != nil {
		t.Fatal(err)
	}
	if got := s.retry(t, DeadLetter{ID: "ms-again", Consumer: letter.Consumer}); got.State != Retried || got.Already {
		t.Errorf("the same event in another letter: %+v", got)
	}
	if n := len(heard().Heard); n != 2 {
		t.Errorf("%d events heard, want 2: %v", n, heard().Heard)
	}
}

func TestATimerIsRetried(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	fragility.Store("wake-timer", true)
	e := s.start(t, fragileSaga)
	wantOutcome(t, e.Execute(t.Context(), request("clock", putCoins{3}, "")), es.Accepted)
	wantOutcome(t, e.Execute(t.Context(), request("clock", takeCoins{Coins: 1, For: "wake-timer"}, "")), es.Accepted)
	letter := s.letter(t, "saga-fragile-due")
	fragility.Delete("wake-timer")
	for i := range 2 {
		if got := s.retry(t, letter); got.State != Retried || got.Already != (i == 1) {
			t.Errorf("retry %d: %+v", i+1, got)
		}
	}
	entry, err := natsstore.NewSagaLog(s.js).Last(t.Context(), "fragile", "clock")
	if err != nil || strings.Count(string(entry.Data), "millstream.Woken") != 1 {
		t.Errorf("the process after the retry: %s, %v", entry.Data, err)
	}
}

func TestAGatewaysEventIsRetriedWithTheSameKey(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	var mended atomic.Bool
	keys := make(chan string, 100)
	e := s.start(t, func(c *Config) {
		c.Domain.Gateways = []es.Gateway{{
			Name: "mint", Interest: es.Interest{Handles: []es.Event{coinsPut{}}, Ignores: []es.Event{coinsTaken{}}},
			Deliver: func(_ context.Context, r es.Recorded, key string) ([]es.Effect, error) {
				keys <- key
				if !mended.Load() {
					return nil, es.Permanent(errors.New("no"))
				}
				return []es.Effect{pots.To("b", takeCoins{Coins: 1})}, nil // rejected: an answer all the same
			},
		}}
	})
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{3}, "")), es.Accepted)
	letter := s.letter(t, "gateway-mint")
	mended.Store(true)
	if got := s.retry(t, letter); got.State != Retried {
		t.Errorf("the retry: %+v", got)
	}
	if got := s.retry(t, letter); !got.Already {
		t.Errorf("once more: %+v", got)
	}
	if a, b := <-keys, <-keys; a != b || len(keys) > 0 {
		t.Errorf("keys %q and %q, and %d more deliveries", a, b, len(keys))
	}
}

func TestAnEventThatTheLogHasLostIsNotRetried(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, fragileSaga)
	fragility.Store("lost", true)
	wantOutcome(t, e.Execute(t.Context(), request("lost", putCoins{3}, "")), es.Accepted)
	wantOutcome(t, e.Execute(t.Context(), request("other", putCoins{3}, "")), es.Accepted)
	letter := s.letter(t, "saga-fragile")
	fragility.Delete("lost")
	letter.ID, letter.Sequence = "ms-lost", 2 // the same revision is another commit
	if err := e.letters.write(t.Context(), letter, 0); err != nil {
		t.Fatal(err)
	}
	if got := s.retry(t, letter); got.State != Parked || !strings.Contains(got.Error, "no longer in the log") {
		t.Errorf("%+v", got)
	}
}

func TestRetriesUnderLiveTraffic(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, older)
	const n = 20
	for i := range n {
		s.queue(t, "commands.pot.a.PutCoins", `{"coins":2}`, fmt.Sprintf("put-%d", i))
		s.queue(t, "commands.pot.a.TakeCoins", `{"coins":1}`, fmt.Sprintf("take-%d", i))
	}
	eventually(t, "all that is unknown to be put aside", func() bool { return len(s.letters(t, "commands")) == n })
	closeEngine(t, e)
	e = s.start(t)
	second := s.start(t, func(c *Config) { c.DataDir = t.TempDir() })
	var live sync.WaitGroup
	for w := range 2 {
		live.Go(func() {
			for i := range 3 * n {
				if reply := []*Engine{e, second}[w].Execute(context.Background(), request("a", putCoins{2}, "")); reply.Outcome != es.Accepted {
					t.Errorf("%+v", reply)
				}
				if _, err := e.Enqueue(context.Background(), request("a", takeCoins{Coins: 1}, fmt.Sprintf("live-%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	letters := s.letters(t, "commands")
	for range 2 { // two operators at once
		live.Go(func() {
			for _, l := range letters {
				if _, err := ActOnLetter(context.Background(), s.conn, l.Consumer, LetterRequest{Kind: "retry", ID: l.ID, By: "ada"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	live.Wait()
	want := n*2 - n + 2*3*n*2 - 2*3*n
	eventually(t, "every command once", func() bool { return potCoins(t, e, "a") == want })
	h, err := e.log.Load(t.Context(), pots.Stream("a"), es.Range{})
	if err != nil || len(h.Events) != 2*n+2*2*3*n {
		t.Errorf("%d events, %v", len(h.Events), err)
	}
	if letters := s.letters(t, "commands"); len(letters) != 0 {
		t.Errorf("%d letters are open", len(letters))
	}
}

func TestACorrectedCommandIsResentOnceAndSaysWhatCausedIt(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	s.queue(t, "commands.pot.a.PutCoin", `{"coins":"5"}`, "typo-1")
	letter := s.letter(t, "commands")
	resend := LetterRequest{Kind: "resend", ID: letter.ID, Type: "PutCoins"}
	if got := s.act(t, "commands", resend)[0]; got.State != Parked || got.Outcome != es.Invalid || got.Status != 422 || !strings.Contains(got.Error, "/coins") {
		t.Errorf("half corrected: %+v", got)
	}
	resend.Data = json.RawMessage(`{"coins":5}`)
	got := s.act(t, "commands", resend)[0]
	if got.State != Resent || got.Outcome != es.Accepted || got.CommandID == "typo-1" {
		t.Errorf("corrected: %+v", got)
	}
	resend.Data = json.RawMessage(`{"coins":6}`)
	if again := s.act(t, "commands", resend)[0]; !again.Already || again.CommandID != got.CommandID {
		t.Errorf("a second time: %+v", again)
	}
	h, err := e.log.Load(t.Context(), pots.Stream("a"), es.Range{})
	if err != nil || len(h.Events) != 1 {
		t.Fatalf("%d events, %v", len(h.Events), err)
	}
	if r := h.Events[0]; r.Causation != letter.ID || r.Correlation != "typo-1" || r.User != "operator:ada" || r.CommandID != got.CommandID {
		t.Errorf("the event: %+v", r.Meta)
	}
	if ops := s.operations(t, letter.ID); len(ops) != 2 || ops[1].Kind != "resend" || ops[1].Reply.CommandID != got.CommandID {
		t.Errorf("the operations: %+v", ops)
	}
}

func TestOnlyACommandIsResent(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, fragileSaga)
	fragility.Store("fact", true)
	wantOutcome(t, e.Execute(t.Context(), request("fact", putCoins{3}, "")), es.Accepted)
	letter := s.letter(t, "saga-fragile")
	if got := s.act(t, letter.Consumer, LetterRequest{Kind: "resend", ID: letter.ID, Data: json.RawMessage(`{}`)})[0]; got.State != Parked || got.Status != 409 {
		t.Errorf("%+v", got)
	}
}

func TestADroppedLetterStaysOnRecord(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	s.queue(t, "commands.pot.a.PutCoins", `{"coins":"many"}`, "bad-1")
	letter := s.letter(t, "commands")
	var invalid *es.InvalidError
	if _, err := ActOnLetter(t.Context(), s.conn, "commands", LetterRequest{Kind: "drop", ID: letter.ID, By: "ada"}); !errors.As(err, &invalid) {
		t.Errorf("without a reason: %v", err)
	}
	if got := s.act(t, "commands", LetterRequest{Kind: "drop", ID: "ms-nothing", Reason: "a guess"})[0]; got.Status != 404 {
		t.Errorf("an unknown letter: %+v", got)
	}
	drop := LetterRequest{Kind: "drop", ID: letter.ID, Reason: "a joke"}
	if got := s.act(t, "commands", drop)[0]; got.State != Dropped || got.Already {
		t.Errorf("the drop: %+v", got)
	}
	if got := s.retry(t, letter); got.State != Dropped || !got.Already {
		t.Errorf("a retry of what was dropped: %+v", got)
	}
	found, state, ops, err := e.letters.Find(t.Context(), letter.ID)
	if err != nil || state != Dropped || found.Error != letter.Error || len(ops) != 1 || ops[0].Reason != "a joke" || ops[0].By != "ada" {
		t.Errorf("%+v, %s, %+v, %v", found, state, ops, err)
	}
	stream, err := s.js.Stream(t.Context(), natsstore.OperationsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("the record could be purged")
	}
}

func TestALetterWhoseConsumerNobodyRunsSaysSo(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := ActOnLetter(ctx, s.conn, "gateway-gone", LetterRequest{Kind: "retry", ID: "ms-1", By: "ada"})
	if !errors.Is(err, es.ErrTransient) || !strings.Contains(err.Error(), "gateway-gone") {
		t.Error(err)
	}
}
