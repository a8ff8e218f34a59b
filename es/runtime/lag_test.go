package runtime

import (
	"context"
	"testing"

	"github.com/millstream-es/millstream/es"
)

// laggingLog shows only the first commits to a load that may lag, as a replica far behind its leader does, always.
type laggingLog struct {
	*faultyLog
	shows int
	asked int // for the newest revision
}

func (l *laggingLog) Load(ctx context.Context, s es.Stream, r es.Range) (es.History, error) {
	h, err := l.faultyLog.Load(ctx, s, r)
	if r.MayLag && len(h.Events) > l.shows {
		h.Events = h.Events[:l.shows]
		h.Revision = 0
		if l.shows > 0 {
			h.Revision = h.Events[l.shows-1].Revision
		}
	}
	return h, err
}

func (l *laggingLog) Last(ctx context.Context, s es.Stream) (es.Revision, error) {
	l.asked++
	return l.faultyLog.Last(ctx, s)
}

func TestNoReplyStandsOnWhatALaggingReplicaShows(t *testing.T) {
	t.Parallel()
	for shows := range 4 {
		log := &laggingLog{memoryLog(t), shows, 0}
		x := newTestExecutor(t, log)
		first := x.execute(t.Context(), request("a", putCoins{1}, "c-1"))
		wantOutcome(t, first, es.Accepted)
		wantOutcome(t, x.execute(t.Context(), request("a", putCoins{1}, "c-2")), es.Accepted)
		third := x.execute(t.Context(), request("a", putCoins{1}, "c-3"))

		// Each of these is the first to load the aggregate.
		expected := third.Version
		guarded := request("a", putCoins{0}, "c-4")
		guarded.Expected = &expected
		for _, test := range []struct {
			what    string
			request es.Request
			want    es.OutcomeKind
			version uint64
		}{
			{"a repeated command", request("a", putCoins{1}, "c-3"), es.Accepted, 3},
			{"one that changes nothing", request("a", putCoins{0}, "c-5"), es.Unchanged, 3},
			{"one at the newest version", guarded, es.Unchanged, 3},
			{"one that only the old state allows to refuse", request("a", takeCoins{Coins: 3}, "c-6"), es.Accepted, 4},
			{"one that only the old state would take", request("a", takeCoins{Coins: 1}, "c-7"), es.RejectedReply, 4},
			{"one that either takes", request("a", putCoins{5}, "c-8"), es.Accepted, 5},
		} {
			if reply := newTestExecutor(t, log).execute(t.Context(), test.request); reply.Outcome != test.want || reply.Version != test.version {
				t.Errorf("%d of the commits shown, %s: %s at version %d, want %s at %d", shows, test.what, reply.Outcome, reply.Version, test.want, test.version)
			}
		}
		if coins := coinsIn(t, log, "a"); coins != 5 {
			t.Errorf("%d of the commits shown: there are %d coins, want 5", shows, coins)
		}
	}
}

func TestWhatTheGuardProvesTheLeaderIsNotAsked(t *testing.T) {
	t.Parallel()
	log := &laggingLog{memoryLog(t), 9, 0}
	for range 3 {
		wantOutcome(t, newTestExecutor(t, log).execute(t.Context(), request("a", putCoins{1}, newID())), es.Accepted)
	}
	if log.asked != 0 {
		t.Errorf("the leader was asked %d times", log.asked)
	}
	wantOutcome(t, newTestExecutor(t, log).execute(t.Context(), request("a", takeCoins{Coins: 9}, newID())), es.RejectedReply)
	if log.asked != 1 {
		t.Errorf("for a rejection the leader was asked %d times, want once", log.asked)
	}
}
