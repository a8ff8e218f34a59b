package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/schema"
)

// faultyLog is a log between which and its user things go wrong.
type faultyLog struct {
	es.Log
	mu     sync.Mutex
	append func(c es.Commit, next func() (es.Revision, error)) (es.Revision, error)
	loads  int
	broken error // what loads say from now on
}

func (f *faultyLog) Append(ctx context.Context, c es.Commit) (es.Revision, error) {
	next := func() (es.Revision, error) { return f.Log.Append(ctx, c) }
	if f.append == nil {
		return next()
	}
	return f.append(c, next)
}

func (f *faultyLog) Load(ctx context.Context, s es.Stream, r es.Range) (es.History, error) {
	f.mu.Lock()
	f.loads++
	broken := f.broken
	f.mu.Unlock()
	if broken != nil {
		return es.History{}, broken
	}
	return f.Log.Load(ctx, s, r)
}

func newTestExecutor(t testing.TB, log es.Log) *executor {
	t.Helper()
	schemas, err := schema.New(potsDomain())
	if err != nil {
		t.Fatal(err)
	}
	return newExecutor(log, schemas, &durability{mode: es.Fast}, newMetrics(prometheus.NewRegistry(), slog.New(slog.DiscardHandler), es.Fast))
}

func memoryLog(t testing.TB) *faultyLog {
	t.Helper()
	schemas, err := schema.New(potsDomain())
	if err != nil {
		t.Fatal(err)
	}
	return &faultyLog{Log: estest.NewLog(schemas)}
}

func coinsIn(t testing.TB, log es.Log, id string) int {
	t.Helper()
	h, err := log.Load(context.Background(), pots.Stream(id), es.Range{})
	if err != nil {
		t.Fatal(err)
	}
	state := pots.New()
	for _, r := range h.Events {
		if state, err = state.Evolve(r.Event); err != nil {
			t.Fatal(err)
		}
	}
	return state.State().(pot).Coins
}

func TestARepeatedCommandIsAnsweredTheSameAndTakesEffectOnce(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x := newTestExecutor(t, log)
	first := x.execute(t.Context(), request("a", putCoins{5}, "c-1"))
	wantOutcome(t, first, es.Accepted)
	wantOutcome(t, x.execute(t.Context(), request("a", putCoins{2}, "c-2")), es.Accepted)
	for name, again := range map[string]*executor{"in the same process": x, "in a new one": newTestExecutor(t, log)} {
		if diff := cmp.Diff(first, again.execute(t.Context(), request("a", putCoins{5}, "c-1"))); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	other := x.execute(t.Context(), request("a", putCoins{6}, "c-1"))
	wantOutcome(t, other, es.Invalid)
	if other.Error.Code != "id_reused" || other.Error.Status != 422 {
		t.Errorf("another body under the same id: %+v", other.Error)
	}
	wantOutcome(t, x.execute(t.Context(), request("b", putCoins{6}, "c-1")), es.Accepted)
	if n := coinsIn(t, log, "a"); n != 7 {
		t.Errorf("%d coins, want 7", n)
	}
}

func TestTheLast256CommandsAreRemembered(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x := newTestExecutor(t, log)
	for i := range rememberedCommands + 1 {
		wantOutcome(t, x.execute(t.Context(), request("a", putCoins{1}, fmt.Sprintf("c-%d", i))), es.Accepted)
	}
	for _, x := range []*executor{x, newTestExecutor(t, log)} {
		if reply := x.execute(t.Context(), request("a", putCoins{1}, "c-1")); reply.Version != 2 {
			t.Errorf("the oldest remembered command is answered with version %d, want 2", reply.Version)
		}
	}
	if n := coinsIn(t, log, "a"); n != rememberedCommands+1 {
		t.Errorf("%d coins, want %d", n, rememberedCommands+1)
	}
}

// Whatever keeps the engine from learning whether an append without an answer was stored, it must not say that it was not.
func TestAnAppendInDoubtIsNotSaidToHaveFailed(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]error{"unreadable": es.ErrCorrupt, "out of reach": es.Transient(errors.New("no leader"))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := memoryLog(t)
			log.append = func(_ es.Commit, next func() (es.Revision, error)) (es.Revision, error) {
				if _, err := next(); err != nil {
					return 0, err
				}
				log.mu.Lock()
				defer log.mu.Unlock()
				log.broken = broken
				return 0, es.ErrUnknownOutcome
			}
			reply := newTestExecutor(t, log).execute(t.Context(), request("a", putCoins{5}, "c-1"))
			wantOutcome(t, reply, es.UnknownOutcome)
			log.broken = nil
			if n := coinsIn(t, log, "a"); n != 5 {
				t.Errorf("%d coins, want the 5 that were stored", n)
			}
		})
	}
}

func TestOutcomesWithoutEvents(t *testing.T) {
	t.Parallel()
	x := newTestExecutor(t, memoryLog(t))
	wantOutcome(t, x.execute(t.Context(), request("a", putCoins{1}, "c-1")), es.Accepted)
	wantOutcome(t, x.execute(t.Context(), request("a", putCoins{0}, "c-2")), es.Unchanged)
	rejected := x.execute(t.Context(), request("a", takeCoins{Coins: 2}, "c-3"))
	wantOutcome(t, rejected, es.RejectedReply)
	want := &es.Problem{Code: "too_few_coins", Message: "there are 1 coins, not 2", Allowed: []string{"PutCoins"}, Status: 409}
	if diff := cmp.Diff(want, rejected.Error); diff != "" {
		t.Error(diff)
	}
	if rejected.Version != 1 || rejected.Revision == 0 {
		t.Errorf("a rejection must say on what it was decided: %+v", rejected)
	}
}

func TestAnExpectedVersionIsKept(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x, y := newTestExecutor(t, log), newTestExecutor(t, log)
	expecting := func(id string, version uint64) es.Request {
		r := request("a", putCoins{1}, id)
		r.Expected = &version
		return r
	}
	wantOutcome(t, x.execute(t.Context(), expecting("c-1", 0)), es.Accepted)
	wantOutcome(t, y.execute(t.Context(), expecting("c-2", 1)), es.Accepted)
	// x still has version 1 in its cache.
	wantOutcome(t, x.execute(t.Context(), expecting("c-3", 2)), es.Accepted)
	wantOutcome(t, y.execute(t.Context(), expecting("c-4", 2)), es.Conflict)
	wantOutcome(t, x.execute(t.Context(), expecting("c-5", 7)), es.Conflict)
	wantOutcome(t, x.execute(t.Context(), expecting("c-1", 0)), es.Accepted) // a repeat is answered whatever it expected
	if n := coinsIn(t, log, "a"); n != 3 {
		t.Errorf("%d coins, want 3", n)
	}
}

func TestACachedStateThatIsOldDecidesNothing(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x, y := newTestExecutor(t, log), newTestExecutor(t, log)
	wantOutcome(t, x.execute(t.Context(), request("a", putCoins{1}, "c-1")), es.Accepted)
	wantOutcome(t, y.execute(t.Context(), request("a", putCoins{9}, "c-2")), es.Accepted)
	wantOutcome(t, x.execute(t.Context(), request("a", takeCoins{Coins: 10}, "c-3")), es.Accepted)
	wantOutcome(t, y.execute(t.Context(), request("a", takeCoins{Coins: 1}, "c-4")), es.RejectedReply)
}

func TestAHotAggregateIsNotLoadedAgain(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x := newTestExecutor(t, log)
	for i := range 10 {
		wantOutcome(t, x.execute(t.Context(), request("a", putCoins{1}, fmt.Sprintf("c-%d", i))), es.Accepted)
	}
	if log.loads != 1 {
		t.Errorf("%d loads for 10 commands, want 1", log.loads)
	}
}

func TestALostAcknowledgementIsNoLostOrDoubledCommand(t *testing.T) {
	t.Parallel()
	lost := fmt.Errorf("%w: test", es.ErrUnknownOutcome)
	for name, stored := range map[string]bool{"stored": true, "never arrived": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := memoryLog(t)
			x := newTestExecutor(t, log)
			failed := false
			log.append = func(c es.Commit, next func() (es.Revision, error)) (es.Revision, error) {
				if failed {
					return next()
				}
				failed = true
				if stored {
					if _, err := next(); err != nil {
						return 0, err
					}
				}
				return 0, lost
			}
			r := request("a", putCoins{5}, "c-1")
			version := uint64(0)
			r.Expected = &version
			reply := x.execute(t.Context(), r)
			wantOutcome(t, reply, es.Accepted)
			if reply.Version != 1 || coinsIn(t, log, "a") != 5 {
				t.Errorf("version %d and %d coins, want 1 and 5", reply.Version, coinsIn(t, log, "a"))
			}
		})
	}
}

func TestAnOutcomeThatStaysUnknownIsCalledSo(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	log.append = func(es.Commit, func() (es.Revision, error)) (es.Revision, error) { return 0, es.ErrUnknownOutcome }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	reply := newTestExecutor(t, log).execute(ctx, request("a", putCoins{5}, "c-1"))
	wantOutcome(t, reply, es.UnknownOutcome)
	if reply.Error.Status != 503 {
		t.Errorf("status %d, want 503", reply.Error.Status)
	}
}

func TestWritersOfOneAggregateInTwoProcessesAllGetThrough(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x, y := newTestExecutor(t, log), newTestExecutor(t, log)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			by := x
			if i%2 == 0 {
				by = y
			}
			if reply := by.execute(context.Background(), request("a", putCoins{1}, fmt.Sprintf("c-%d", i))); reply.Outcome != es.Accepted {
				t.Errorf("%+v %+v", reply, reply.Error)
			}
		})
	}
	wg.Wait()
	if n := coinsIn(t, log, "a"); n != 200 {
		t.Errorf("%d coins, want 200", n)
	}
}

func TestAFaultOfTheMachineryShowsNoInternals(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	log.append = func(es.Commit, func() (es.Revision, error)) (es.Revision, error) {
		return 0, es.Permanent(errors.New("secret"))
	}
	reply := newTestExecutor(t, log).execute(t.Context(), request("a", putCoins{5}, "c-1"))
	wantOutcome(t, reply, es.Failed)
	if reply.Error.Status != 500 || reply.Error.Code != "internal" {
		t.Errorf("%+v", reply.Error)
	}
}

func TestAPanicOfTheDomainIsAFailedCommand(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x := newTestExecutor(t, log)
	wantOutcome(t, x.execute(t.Context(), request("a", panicAtCoins{}, "c-1")), es.Failed)
	wantOutcome(t, x.execute(t.Context(), request("a", putCoins{1}, "c-2")), es.Accepted)
}
