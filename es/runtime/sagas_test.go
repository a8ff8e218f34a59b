package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// transitions reads a process's whole trail.
func (s *testServer) transitions(t *testing.T, key string) []transition {
	t.Helper()
	var trail []transition
	err := natsstore.NewSagaLog(s.js).History(t.Context(), "mover", key, func(e natsstore.SagaEntry) error {
		var tr transition
		trail = append(trail, tr)
		return json.Unmarshal(e.Data, &trail[len(trail)-1])
	})
	if err != nil {
		t.Fatal(err)
	}
	return trail
}

func take(t *testing.T, e *Engine, from, target string, coins int) {
	t.Helper()
	wantOutcome(t, e.Execute(t.Context(), request(from, putCoins{coins}, "")), es.Accepted)
	wantOutcome(t, e.Execute(t.Context(), request(from, takeCoins{Coins: coins, For: target}, "")), es.Accepted)
}

func TestASagaSendsHearsAndEnds(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	take(t, e, "a", "b", 3)
	eventually(t, "the coins in b", func() bool { return potCoins(t, e, "b") == 3 })
	eventually(t, "the outcome in the trail", func() bool { return len(s.transitions(t, "a")) == 2 })
	trail := s.transitions(t, "a")
	if len(trail[0].Effects) != 1 || trail[0].Effects[0].Kind != "send" || trail[0].Done {
		t.Errorf("the first transition: %+v", trail[0])
	}
	var state mover
	if err := json.Unmarshal(trail[1].State, &state); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mover{Target: "b", Coins: 3, Heard: []string{"accepted"}}, state); diff != "" || !trail[1].Done || len(trail[1].Outcomes) != 1 {
		t.Errorf("the last transition: %+v\n%s", trail[1], diff)
	}
	h, err := e.log.Load(t.Context(), pots.Stream("b"), es.Range{})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Events[0]; got.User != "saga:mover" || got.Correlation != trail[0].Correlation || got.Causation != trail[0].Trigger.ID {
		t.Errorf("the saga's command: user %q, correlation %q, causation %q", got.User, got.Correlation, got.Causation)
	}
}

func TestATimerFiresAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	delay := func(c *Config) { c.Delays = map[string]time.Duration{"mover.move": 700 * time.Millisecond} }
	e := s.start(t, delay)
	take(t, e, "slow", "b", 3)
	eventually(t, "the armed timer", func() bool { return len(s.transitions(t, "slow")) == 1 })
	closeEngine(t, e)
	again := s.start(t, delay)
	eventually(t, "the coins in b", func() bool { return potCoins(t, again, "b") == 3 })
	eventually(t, "the end", func() bool { tr := s.transitions(t, "slow"); return tr[len(tr)-1].Done })
	for _, tr := range s.transitions(t, "slow") {
		if tr.Trigger.Kind == "timer" && len(tr.Timers) > 0 {
			t.Errorf("a timer that has gone off is still armed: %+v", tr.Timers)
		}
	}
}

func TestATimerThatIsNotTheArmedOneIsIgnored(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	take(t, e, "slow", "b", 3)
	eventually(t, "the armed timer", func() bool { return len(s.transitions(t, "slow")) == 1 })
	if _, err := s.js.Publish(t.Context(), "due.mover.slow.move", []byte("ms-not-this-one")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(t.Context(), "due.mover.nobody.move", []byte("ms-not-this-one")); err != nil {
		t.Fatal(err)
	}
	armed := s.transitions(t, "slow")[0].Timers["move"].ID
	for range 3 { // the right one, several times over
		if _, err := s.js.Publish(t.Context(), "due.mover.slow.move", []byte(armed)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the coins in b", func() bool { return potCoins(t, e, "b") == 3 })
	eventually(t, "all due messages heard", func() bool {
		c, err := s.js.Consumer(t.Context(), natsstore.TimersStream, "saga-mover-due")
		return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
	if trail := s.transitions(t, "slow"); len(trail) != 3 {
		t.Errorf("%d transitions, want 3: taken, woken, outcome", len(trail))
	}
	if trail := s.transitions(t, "nobody"); len(trail) != 0 {
		t.Errorf("a process that never began was woken: %+v", trail)
	}
}

// A worker that was held up sets an old timer late, in the place of the one that a transition after it has armed. When
// the old one goes off, the armed one is set again.
func TestATimerThatAnOldOneReplacedStillGoesOff(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Delays = map[string]time.Duration{"mover.move": 3 * time.Second} })
	take(t, e, "slow", "b", 3)
	armed := func() bool {
		m, err := natsstore.Newest(t.Context(), s.js, natsstore.TimersStream, "timers.mover.slow.move")
		return err == nil && m != nil
	}
	eventually(t, "the armed timer", armed)
	next := s.transitions(t, "slow")[0]
	next.Number, next.Effects = 2, nil // the process has heard something else since
	body, err := json.Marshal(next)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(t.Context(), "sagas.mover.slow", body); err != nil {
		t.Fatal(err)
	}
	if err := natsstore.NewTimers(s.js).Set(t.Context(), "mover", "slow", "move", "ms-an-older-one", time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the coins in b", func() bool { return potCoins(t, e, "b") == 3 })
}

// TestWhatASagaOwesIsDoneAtTakeOver stores a transition as a process would that died right after it, with no trigger
// left to remind anybody.
func TestWhatASagaOwesIsDoneAtTakeOver(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	none := func(c *Config) { c.Roles = []Role{RoleCommands} }
	e := s.start(t, none)
	at := time.Now().UTC()
	for key, owed := range map[string]effect{
		"sent":  {Kind: "send", Stream: "pot/b", Type: "PutCoins", Data: json.RawMessage(`{"coins":3}`), ID: "ms-owed"},
		"armed": {Kind: "wake", Name: "move", ID: "ms-timer", At: &at},
	} {
		tr := transition{Number: 1, State: json.RawMessage(`{"Target":"c","Coins":4}`), Effects: []effect{owed}, Timers: map[string]timer{}}
		if owed.Kind == "wake" {
			tr.Timers["move"] = timer{"ms-timer", at}
		}
		body, err := json.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.js.Publish(t.Context(), "sagas.mover."+key, body); err != nil {
			t.Fatal(err)
		}
	}
	if n := potCoins(t, e, "b"); n != -1 {
		t.Fatalf("%d coins in b before any saga runs", n)
	}
	again := s.start(t, func(c *Config) { c.DataDir = t.TempDir() })
	eventually(t, "what was sent", func() bool { return potCoins(t, again, "b") == 3 })
	eventually(t, "what was armed", func() bool { return potCoins(t, again, "c") == 4 })
	for _, key := range []string{"sent", "armed"} {
		eventually(t, "the end of "+key, func() bool { tr := s.transitions(t, key); return tr[len(tr)-1].Done })
	}
}

func TestTwoProcessesShareASagaAndNothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	first := s.start(t)
	second := s.start(t, func(c *Config) { c.DataDir = t.TempDir() })
	const n = 20
	for i := range n {
		e := []*Engine{first, second}[i%2]
		take(t, e, fmt.Sprintf("from-%d", i), fmt.Sprintf("to-%d", i), 1)
		if i == n/2 {
			closeEngine(t, first)
			first = second
		}
	}
	for i := range n {
		eventually(t, "every coin moved", func() bool { return potCoins(t, second, fmt.Sprintf("to-%d", i)) == 1 })
	}
}

func TestAGatewayIsTriedAgainWithTheSameKeyAndGivenUpInTheEnd(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	var flaky, broken atomic.Int64
	keys := make(chan string, 100)
	gateway := es.Gateway{
		Name: "mint", Interest: es.Interest{Handles: []es.Event{coinsPut{}}, Ignores: []es.Event{coinsTaken{}}},
		Deliver: func(_ context.Context, r es.Recorded, key string) ([]es.Effect, error) {
			switch r.Stream.ID {
			case "flaky":
				keys <- key
				if flaky.Add(1) < 3 {
					return nil, es.Transient(fmt.Errorf("not now"))
				}
				return []es.Effect{pots.To("minted", takeCoins{Coins: 1})}, nil // rejected: an answer all the same
			case "broken":
				broken.Add(1)
				return nil, es.Permanent(fmt.Errorf("never"))
			}
			return nil, nil
		},
	}
	e := s.start(t, func(c *Config) { c.Domain.Gateways = []es.Gateway{gateway} })
	for _, id := range []string{"broken", "flaky"} {
		wantOutcome(t, e.Execute(t.Context(), request(id, putCoins{1}, "")), es.Accepted)
	}
	eventually(t, "the third attempt", func() bool { return flaky.Load() == 3 })
	if a, b, c := <-keys, <-keys, <-keys; a != b || b != c || a == "" {
		t.Errorf("idempotency keys differ: %q %q %q", a, b, c)
	}
	eventually(t, "the dead letter", func() bool {
		stream, err := s.js.Stream(t.Context(), natsstore.DeadLettersStream)
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.GetLastMsgForSubject(t.Context(), "deadletters.gateway-mint.>")
		return err == nil
	})
	if n := broken.Load(); n != 1 {
		t.Errorf("a permanent error was tried %d times", n)
	}
}
