package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// carter carries coins like mover, and knows how to give them back: for "slow" pots it waits for its timer first.
type carter struct {
	From, Target string
	Coins        int
	Sent         bool
}

func (c carter) React(r es.Recorded) (carter, []es.Effect) {
	switch e := r.Event.(type) {
	case coinsTaken:
		c = carter{From: r.Stream.ID, Target: e.For, Coins: e.Coins}
		return c, []es.Effect{es.After{Name: "carry", Delay: time.Hour}}
	case es.Woken:
		c.Sent = true
		return c, []es.Effect{pots.To(c.Target, putCoins{c.Coins})}
	case es.Cancelled:
		if c.Sent {
			return c, nil
		}
		return c, []es.Effect{pots.To(c.From, putCoins{c.Coins}), es.Done{}}
	case es.Outcome:
		if !e.Rejected() {
			return c, []es.Effect{es.Done{}}
		}
	}
	return c, nil
}

func (c carter) Waits() []es.Wait {
	if c.Sent {
		return nil
	}
	return []es.Wait{{For: "the cart of pot " + c.Target, On: pots.Stream(c.Target), Timer: "carry", Then: "carries"}}
}

var carters = es.DefineSaga[carter]("carter", es.Interest{Handles: []es.Event{coinsTaken{}}, Ignores: []es.Event{coinsPut{}}}, func(r es.Recorded) (string, bool) {
	taken := r.Event.(coinsTaken)
	return r.Stream.ID, taken.For == "cart"
}).Cancellable()

// withCarters lets what is taken for "cart" be the carters' alone.
func withCarters(c *Config) {
	movers := es.DefineSaga[mover]("mover", es.Interest{Handles: []es.Event{coinsTaken{}}, Ignores: []es.Event{coinsPut{}}}, func(r es.Recorded) (string, bool) {
		taken := r.Event.(coinsTaken)
		return r.Stream.ID, taken.For != "" && taken.For != "cart"
	})
	c.Domain.Sagas = []es.Saga{movers, carters}
}

func (s *testServer) processes() *Processes {
	d := potsDomain()
	d.Sagas = append(d.Sagas, carters)
	return NewProcesses(s.js, d)
}

func (s *testServer) process(t *testing.T, saga, key string) ProcessHistory {
	t.Helper()
	h, err := s.processes().Show(t.Context(), saga, key)
	if err != nil && !errors.Is(err, es.ErrRejected) {
		t.Fatal(err)
	}
	return h
}

// begun takes coins for a cart and waits until its process has armed its timer.
func (s *testServer) begun(t *testing.T, e *Engine, key string) {
	t.Helper()
	take(t, e, key, "cart", 3)
	eventually(t, "the process of "+key, func() bool { return len(s.process(t, "carter", key).Timers) == 1 })
}

func (s *testServer) actOn(t *testing.T, kind, saga, key string) (ProcessReply, error) {
	t.Helper()
	return ActOnProcess(t.Context(), s.conn, ProcessRequest{Kind: kind, Saga: saga, Key: key, By: "ada", Reason: "a test"})
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if err == nil || Problem(err).Code != code {
		t.Errorf("error %v, want %s", err, code)
	}
}

func TestACancelledProcessUndoesWhatItDidOnce(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, withCarters)
	s.begun(t, e, "a")
	before := s.process(t, "carter", "a")
	if w := before.Waiting; before.State != ProcessOpen || len(w) != 1 || w[0].For != "the cart of pot cart" || w[0].On != "pot/cart" || w[0].Then != "carries" ||
		w[0].Until == nil || !w[0].Until.Equal(before.Timers[0].At) || !w[0].Since.Equal(before.Timeline[0].Trigger.Time) {
		t.Errorf("waiting %+v of %+v", w, before)
	}
	reply, err := s.actOn(t, CancelProcess, "carter", "a")
	if err != nil || reply.State != ProcessDone || reply.From != 1 || reply.To != 3 {
		t.Fatalf("%+v, %v", reply, err)
	}
	if n := potCoins(t, e, "a"); n != 3 {
		t.Errorf("%d coins in the pot, want the 3 given back", n)
	}
	_, err = s.actOn(t, CancelProcess, "carter", "a")
	wantCode(t, err, "saga_done")
	_, err = s.actOn(t, CancelProcess, "carter", "b")
	wantCode(t, err, "saga_not_found")
	after := s.process(t, "carter", "a")
	if len(after.Timers) != 0 || after.Timeline[1].Trigger.Kind != "cancelled" || after.Timeline[1].Trigger.By != "ada" || after.Timeline[1].Trigger.Reason != "a test" {
		t.Errorf("after the cancellation: %+v", after)
	}
	if a := after.Actions; len(a) != 2 || a[0].Kind != "cancel" || a[0].By != "ada" || a[0].State != "done" || a[0].Error != "" || !strings.Contains(a[1].Error, "done") {
		t.Errorf("on record: %+v", a)
	}
	if m, err := natsstore.Newest(t.Context(), s.js, natsstore.TimersStream, "timers.carter.a.carry"); m != nil || err != nil {
		t.Errorf("the timer is still there: %+v, %v", m, err)
	}
}

func TestWhatIsPastUndoingIsNotCancelled(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, withCarters)
	s.begun(t, e, "a")
	body, err := json.Marshal(transition{Number: 2, State: json.RawMessage(`{"From":"a","Target":"cart","Coins":3,"Sent":true}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(t.Context(), "sagas.carter.a", body); err != nil {
		t.Fatal(err)
	}
	reply, err := s.actOn(t, CancelProcess, "carter", "a")
	wantCode(t, err, "cancelled_too_late")
	if reply.To != 2 || len(s.process(t, "carter", "a").Timeline) != 2 {
		t.Errorf("a refused cancellation left a trace: %+v", reply)
	}
}

func TestAProcessThatCannotUndoIsOnlyEndedByForce(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, withCarters)
	take(t, e, "slow", "b", 3)
	eventually(t, "the process", func() bool { return len(s.process(t, "mover", "slow").Timers) == 1 })
	_, err := s.actOn(t, CancelProcess, "mover", "slow")
	wantCode(t, err, "not_cancellable")
	before := s.process(t, "mover", "slow").Current
	reply, err := s.actOn(t, EndProcess, "mover", "slow")
	if err != nil || reply.State != ProcessDone {
		t.Fatalf("%+v, %v", reply, err)
	}
	after := s.process(t, "mover", "slow")
	if after.State != ProcessDone || len(after.Timers) != 0 || string(after.Current) != string(before) || after.Timeline[len(after.Timeline)-1].Trigger.Kind != "ended" {
		t.Errorf("after the end: %+v", after)
	}
	if n := potCoins(t, e, "b"); n != -1 {
		t.Errorf("%d coins in b: the end completed the process", n)
	}
	// What still comes for it is heard.
	take(t, e, "slow", "b", 2)
	eventually(t, "the process to begin again", func() bool { return len(s.process(t, "mover", "slow").Timers) == 1 })
}

// TestARetrySettlesWhatIsOwed stores a transition whose commands nobody sent, while the engine runs.
func TestARetrySettlesWhatIsOwed(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	body, err := json.Marshal(transition{
		Number: 1, State: json.RawMessage(`{"Target":"b","Coins":3}`),
		Effects: []effect{{Kind: "send", Stream: "pot/b", Type: "PutCoins", Data: json.RawMessage(`{"coins":3}`), ID: "ms-owed"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(t.Context(), "sagas.mover.a", body); err != nil {
		t.Fatal(err)
	}
	if p := s.process(t, "mover", "a"); p.State != ProcessOpen || len(p.Owes) != 1 || p.Owes[0].Command != "PutCoins" {
		t.Errorf("before: %+v", p)
	}
	reply, err := s.actOn(t, RetryProcess, "mover", "a")
	if err != nil || reply.State != ProcessDone || reply.From != 1 || reply.To != 2 {
		t.Fatalf("%+v, %v", reply, err)
	}
	if n := potCoins(t, e, "b"); n != 3 {
		t.Errorf("%d coins in b, want 3", n)
	}
	if reply, err = s.actOn(t, RetryProcess, "mover", "a"); err != nil || reply.From != 2 || reply.To != 2 || potCoins(t, e, "b") != 3 {
		t.Errorf("a second retry: %+v, %v", reply, err)
	}
}

func TestRequestsThatSayTooLittleAreRefused(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	for name, r := range map[string]ProcessRequest{
		"nobody asks":       {Kind: RetryProcess, Saga: "mover", Key: "a"},
		"no reason":         {Kind: CancelProcess, Saga: "mover", Key: "a", By: "ada"},
		"a blank reason":    {Kind: EndProcess, Saga: "mover", Key: "a", By: "ada", Reason: " "},
		"an unknown kind":   {Kind: "undo", Saga: "mover", Key: "a", By: "ada"},
		"a key with a star": {Kind: RetryProcess, Saga: "mover", Key: "*", By: "ada"},
		"a long reason":     {Kind: RetryProcess, Saga: "mover", Key: "a", By: "ada", Reason: strings.Repeat("x", 1001)},
	} {
		if _, err := ActOnProcess(t.Context(), s.conn, r); Status(err) != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := ActOnProcess(t.Context(), s.conn, ProcessRequest{Kind: RetryProcess, Saga: "mover", Key: "a", By: "ada"})
	if !errors.Is(err, es.ErrTransient) || !strings.Contains(err.Error(), "mover") {
		t.Errorf("nobody runs the saga: %v", err)
	}
}

func TestProcessesAreListedPageByPage(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, withCarters)
	for i := range 5 {
		s.begun(t, e, fmt.Sprintf("slow-%d", i))
	}
	take(t, e, "done-1", "b", 1)
	eventually(t, "the end of done-1", func() bool { return s.process(t, "mover", "done-1").State == ProcessDone })
	v := s.processes()
	var keys []string
	for cursor, pages := "", 1; ; pages++ {
		page, total, next, err := v.List(t.Context(), ProcessFilter{Saga: "carter", Query: "slow"}, cursor, 2)
		if err != nil || total != 5 || pages > 3 {
			t.Fatalf("page %d: %d in all, %v", pages, total, err)
		}
		for _, p := range page {
			keys = append(keys, p.Key)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if want := []string{"slow-4", "slow-3", "slow-2", "slow-1", "slow-0"}; !slices.Equal(keys, want) {
		t.Errorf("%v, want %v: what moved last first, each once", keys, want)
	}
	for state, want := range map[ProcessState]int{"": 6, ProcessOpen: 5, ProcessDone: 1, ProcessStuck: 0} {
		if _, total, _, err := v.List(t.Context(), ProcessFilter{State: state}, "", 1); err != nil || total != want {
			t.Errorf("state %q: %d, %v, want %d", state, total, err, want)
		}
	}
	if _, _, _, err := v.List(t.Context(), ProcessFilter{State: "lost"}, "", 1); Status(err) != 400 {
		t.Errorf("an unknown state: %v", err)
	}
	_, _, _, err := v.List(t.Context(), ProcessFilter{Saga: "movr"}, "", 1)
	wantCode(t, err, "unknown_saga")
	if _, _, _, err := v.List(t.Context(), ProcessFilter{}, "x1", 1); Status(err) != 400 {
		t.Errorf("a cursor that is none: %v", err)
	}
	timers, total, err := v.Timers(t.Context(), ProcessFilter{Saga: "carter"}, 3)
	if err != nil || total != 5 || len(timers) != 3 || timers[0].Key != "slow-0" || timers[0].Then != "carries" {
		t.Errorf("timers: %+v of %d, %v", timers, total, err)
	}
	counts, err := v.Count(t.Context())
	if err != nil || len(counts) != 2 || counts[1].Open != 5 || counts[0].Done != 1 || counts[1].Oldest == nil {
		t.Errorf("counts: %+v, %v", counts, err)
	}
}
