package estest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"pgregory.net/rapid"
)

// approve answers every transfer that begins.
func approve(r es.Recorded) []es.Effect {
	if _, ok := r.Event.(transferBegun); ok {
		return []es.Effect{transfers.To(r.Stream.ID, approveTransfer{})}
	}
	return nil
}

func balance(w *estest.World, id string) int64 {
	return w.State(accounts.Stream(id)).(account).Balance
}

func TestAWorldRunsAProcessToItsEnd(t *testing.T) {
	t.Parallel()
	w := estest.NewWorld(t, bank)
	w.Gateway("clerk", approve)
	w.Send(accounts.Stream("a"), deposit{10})
	w.Send(transfers.Stream("t-1"), beginTransfer{"a", "b", 7})
	if open := w.Sagas(); len(open) != 1 || open[0].Key != "t-1" {
		t.Fatalf("open sagas: %+v, want t-1", open)
	}
	w.RunUntilQuiet()
	if a, b := balance(w, "a"), balance(w, "b"); a != 3 || b != 7 {
		t.Fatalf("balances %d and %d, want 3 and 7", a, b)
	}
	if open := w.Sagas(); len(open) != 0 {
		t.Fatalf("open sagas: %+v, want none", open)
	}
	if fired := w.FireTimers(); fired != 0 {
		t.Fatalf("%d timers went off, though the only one was cancelled", fired)
	}
	for _, r := range w.Events()[1:] {
		if r.Correlation != "client-2" {
			t.Errorf("%s has correlation %s, want that of the command behind it all", r.EventType(), r.Correlation)
		}
	}
	if h := w.History(transfers.Stream("t-1")); len(h) != 3 || h[2].Event != (transferEnded{Done: true}) {
		t.Fatalf("history of the transfer: %+v", h)
	}
}

func TestAWorldKeepsTime(t *testing.T) {
	t.Parallel()
	w := estest.NewWorld(t, bank)
	w.Send(transfers.Stream("t-1"), beginTransfer{"a", "b", 7})
	w.RunUntilQuiet()
	w.Advance(14 * time.Minute)
	w.RunUntilQuiet()
	if open := w.Sagas(); len(open) != 1 || fmt.Sprint(open[0].Timers) != "[approval]" {
		t.Fatalf("open sagas after 14 minutes: %+v, want one that waits for approval", open)
	}
	if fired := w.FireTimers(); fired != 1 || !w.Now().Equal(estest.Noon.Add(15*time.Minute)) {
		t.Fatalf("%d timers went off by %s, want one at a quarter past noon", fired, w.Now())
	}
	// The approval comes before the wake-up is taken, and after it was sent.
	w.Send(transfers.Stream("t-1"), approveTransfer{})
	w.RunUntilQuiet()
	if state := w.State(transfers.Stream("t-1")); state != (transfer{Begun: true, Approved: true, Ended: true}) {
		t.Fatalf("transfer is %+v, want it ended and not done", state)
	}
}

func TestAWakeUpThatIsCancelledOnItsWayIsNotHeard(t *testing.T) {
	t.Parallel()
	w := estest.NewWorld(t, bank)
	w.Send(accounts.Stream("a"), deposit{10})
	w.Send(transfers.Stream("t-1"), beginTransfer{"a", "b", 7})
	w.RunUntilQuiet()
	w.Send(transfers.Stream("t-1"), approveTransfer{})
	if fired := w.FireTimers(); fired != 1 {
		t.Fatalf("%d timers went off, want one", fired)
	}
	w.RunUntilQuiet()
	if alarms, b := balance(w, "alarms"), balance(w, "b"); alarms != 0 || b != 7 {
		t.Fatalf("%d alarms and balance %d, want none and 7", alarms, b)
	}
}

func TestAWorldAnswersCommandsAsTheEngineDoes(t *testing.T) {
	t.Parallel()
	w := estest.NewWorld(t, bank)
	a := accounts.Stream("a")
	first := w.SendAs("id-1", a, deposit{10})
	if first.Outcome != es.Accepted || first.Version != 1 || first.Revision != 1 || fmt.Sprint(first.Events) != "[Deposited]" {
		t.Fatalf("first: %+v", first)
	}
	w.Send(a, deposit{1})
	if again := w.SendAs("id-1", a, deposit{10}); fmt.Sprint(again) != fmt.Sprint(first) || balance(w, "a") != 11 {
		t.Fatalf("the same command again: %+v, want %+v and no effect", again, first)
	}
	tests := map[string]struct {
		reply   es.Reply
		outcome es.OutcomeKind
		code    string
	}{
		"same id, other body": {w.SendAs("id-1", a, deposit{11}), es.Invalid, "id_reused"},
		"refused":             {w.Send(a, withdraw{100}), es.RejectedReply, "too_poor"},
		"against the schema":  {w.Send(a, deposit{0}), es.Invalid, "schema"},
		"other aggregate":     {w.Send(a, approveTransfer{}), es.Invalid, "unknown_command"},
		"bad id":              {w.Send(accounts.Stream("a.b"), deposit{1}), es.Invalid, "bad_id"},
	}
	for name, tt := range tests {
		if tt.reply.Outcome != tt.outcome || tt.reply.Error == nil || tt.reply.Error.Code != tt.code {
			t.Errorf("%s: got %+v, want %s %s", name, tt.reply, tt.outcome, tt.code)
		}
	}
	if allowed := w.Send(a, withdraw{100}).Error.Allowed; fmt.Sprint(allowed) != "[Deposit]" {
		t.Errorf("allowed instead: %v, want [Deposit]", allowed)
	}
	w.Send(transfers.Stream("t"), beginTransfer{"a", "b", 1})
	if again := w.Send(transfers.Stream("t"), beginTransfer{"a", "b", 1}); again.Outcome != es.Unchanged || again.Version != 1 {
		t.Errorf("already so: %+v", again)
	}
}

// echo answers every event with a command that leads to it again.
type echo struct{}

func (e echo) React(r es.Recorded) (echo, []es.Effect) {
	return e, []es.Effect{accounts.To("a", deposit{1})}
}

func TestAWorldNoticesWhatNeverEnds(t *testing.T) {
	t.Parallel()
	loud := bank
	loud.Sagas = []es.Saga{es.DefineSaga[echo]("echo", es.Interest{
		Handles: []es.Event{deposited{}},
		Ignores: []es.Event{withdrawn{}, transferBegun{}, transferApproved{}, transferEnded{}},
	}, func(es.Recorded) (string, bool) { return "1", true })}
	got := failure(t, func(t testing.TB) {
		w := estest.NewWorld(t, loud)
		w.MaxSteps = 200
		w.Send(accounts.Stream("a"), deposit{1})
		w.RunUntilQuiet()
	})
	if !strings.Contains(got, "no rest after") {
		t.Fatalf("got failure %q, want no rest", got)
	}
}

func TestTransfersKeepTheirPromisesInEveryOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := estest.NewWorld(rt, bank)
		w.Redeliver, w.FireAnyTime = true, true
		clerk := rapid.SliceOfN(rapid.IntRange(0, 2), 4, 4).Draw(rt, "answers of the clerk")
		w.Gateway("clerk", func(r es.Recorded) []es.Effect {
			if _, ok := r.Event.(transferBegun); !ok {
				return nil
			}
			answer := approve(r)[0]
			return [][]es.Effect{nil, {answer}, {answer, answer}}[clerk[r.Stream.ID[0]-'0']]
		})
		choose := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "step") }
		w.Send(accounts.Stream("a"), deposit{10})
		w.Send(accounts.Stream("b"), deposit{10})
		for i := range clerk {
			w.Send(transfers.Stream(fmt.Sprint(i)), beginTransfer{[]string{"a", "b"}[i%2], []string{"b", "a"}[i%2], 7})
			for range rapid.IntRange(0, 10).Draw(rt, "steps between") {
				w.Step(choose)
			}
		}
		for range 200 {
			if !w.Step(choose) {
				break
			}
		}
		w.RunUntilQuiet()
		w.FireTimers()
		w.RunUntilQuiet()
		if open := w.Sagas(); len(open) > 0 {
			rt.Fatalf("open sagas: %+v", open)
		}
		a, b := balance(w, "a"), balance(w, "b")
		if a < 0 || b < 0 || a+b != 20 {
			rt.Fatalf("balances %d and %d, want 20 together", a, b)
		}
		for i, answers := range clerk {
			if state := w.State(transfers.Stream(fmt.Sprint(i))).(transfer); !state.Ended || state.Done && answers == 0 {
				rt.Fatalf("transfer %d is %+v", i, state)
			}
		}
	})
}
