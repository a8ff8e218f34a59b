package natsstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millstream-es/millstream/es"
)

// heldSync is a sync that takes as long as the test says.
type heldSync struct {
	began, end chan struct{}
	fail       atomic.Bool
}

func newHeldSync() *heldSync { return &heldSync{began: make(chan struct{}), end: make(chan struct{})} }

func (h *heldSync) sync() error {
	h.began <- struct{}{}
	<-h.end
	if h.fail.Load() {
		return errors.New("input/output error")
	}
	return nil
}

func nothing() error { return nil }

func TestOneSyncAnswersAllWhoWaitedWhenItBegan(t *testing.T) {
	t.Parallel()
	h := newHeldSync()
	s := newSyncer(h.sync, nothing, nothing)
	first := make(chan error, 1)
	go func() { first <- s.Wait(t.Context()) }()
	<-h.began
	// These came after the first sync began: only the next covers what they wait for.
	const n = 50
	late := make(chan error, n)
	for range n {
		go func() { late <- s.Wait(t.Context()) }()
	}
	for waiting := 0; waiting < n; {
		s.mu.Lock()
		waiting = s.everything.round.waiting
		s.mu.Unlock()
	}
	h.end <- struct{}{}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	<-h.began
	select {
	case err := <-late:
		t.Fatalf("a wait ended before the sync that covers it: %v", err)
	default:
	}
	h.end <- struct{}{}
	for range n {
		if err := <-late; err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats(); got.Syncs != 2 || got.Served != n+1 {
		t.Errorf("%+v, want 2 syncs for %d waits", got, n+1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFailedSyncIsFinal(t *testing.T) {
	t.Parallel()
	h := newHeldSync()
	s := newSyncer(h.sync, nothing, nothing)
	var wg sync.WaitGroup
	wait := func() {
		if err := s.Wait(t.Context()); !errors.Is(err, es.ErrUnknownOutcome) {
			t.Errorf("%v, want an unknown outcome", err)
		}
	}
	wg.Go(wait)
	<-h.began
	wg.Go(wait) // for the sync after the one that fails
	for waiting := 0; waiting < 1; {
		s.mu.Lock()
		waiting = s.everything.round.waiting
		s.mu.Unlock()
	}
	h.fail.Store(true)
	h.end <- struct{}{}
	wg.Wait()
	<-s.Failed()
	h.fail.Store(false)
	wait()
	if s.Err() == nil {
		t.Error("no reason is given")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A failed sync of one kind leaves nothing of the other to be promised, not even by one that is under way.
func TestAFailedSyncIsFinalForBothKinds(t *testing.T) {
	t.Parallel()
	everything, log := newHeldSync(), newHeldSync()
	waits := []func(*Syncer) error{
		func(s *Syncer) error { return s.Wait(t.Context()) },
		func(s *Syncer) error { return s.Turn().Wait(t.Context()) },
	}
	for failing, held := range []*heldSync{everything, log} {
		s := newSyncer(everything.sync, log.sync, nothing)
		failed, other := make(chan error, 1), make(chan error, 1)
		go func() { failed <- waits[failing](s) }()
		go func() { other <- waits[1-failing](s) }()
		<-everything.began
		<-log.began
		held.fail.Store(true)
		held.end <- struct{}{}
		<-s.Failed()
		for _, h := range []*heldSync{everything, log} {
			if h != held {
				h.end <- struct{}{}
			}
		}
		for _, err := range []error{<-failed, <-other, waits[0](s), waits[1](s)} {
			if !errors.Is(err, es.ErrUnknownOutcome) {
				t.Errorf("%v, want an unknown outcome", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		held.fail.Store(false)
	}
}

func TestWaitingEndsWithTheContextOrTheSyncer(t *testing.T) {
	t.Parallel()
	h := newHeldSync()
	s := newSyncer(h.sync, nothing, nothing)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Wait(ctx) }()
	<-h.began
	if err := <-ended; !errors.Is(err, es.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want an unknown outcome by the deadline", err)
	}
	h.end <- struct{}{}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(t.Context()); !errors.Is(err, es.ErrUnknownOutcome) {
		t.Errorf("after Close: %v", err)
	}
}

func TestTheFileSystemSyncs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := NewSyncer(dir, filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Wait(t.Context()), s.Turn().Wait(t.Context())); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewSyncer("/does/not/exist", "/does/not/exist"); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// A sync is put off for those who are coming, and the ones that come late ride it too.
func TestASyncWaitsForThoseWhoAreComing(t *testing.T) {
	t.Parallel()
	for name, arrive := range map[string]func(context.Context, *Turn) error{
		"one comes":         func(ctx context.Context, turn *Turn) error { return turn.Wait(ctx) },
		"one does not come": func(_ context.Context, turn *Turn) error { turn.End(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var syncs atomic.Int32
				s := newSyncer(nothing, func() error { syncs.Add(1); return nil }, nothing)
				defer s.Close()
				ended := make(chan error, 1)
				turn := s.Turn()
				turn.Begin()
				go func() { ended <- s.Turn().Wait(t.Context()) }()
				synctest.Wait()
				if n := syncs.Load(); n != 0 {
					t.Errorf("%d syncs while one is coming", n)
				}
				began := time.Now()
				if err := errors.Join(arrive(t.Context(), turn), <-ended); err != nil {
					t.Fatal(err)
				}
				turn.End()
				if n := syncs.Load(); n != 1 || time.Since(began) != 0 {
					t.Errorf("%d syncs after %s, want one at once", n, time.Since(began))
				}
				if s.log.coming != 0 {
					t.Errorf("%d are said to be coming still", s.log.coming)
				}
			})
		})
	}
}

func TestASyncDoesNotWaitLongForWhoDoesNotCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSyncer(nothing, nothing, nothing)
		defer s.Close()
		stuck := s.Turn()
		stuck.Begin()
		began := time.Now()
		for n := range 3 {
			if err := s.Turn().Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got != time.Duration(n+1)*patience {
				t.Errorf("wait %d ended after %s", n+1, got)
			}
		}
		stuck.End()
		if err := s.Turn().Wait(t.Context()); err != nil || time.Since(began) != 3*patience {
			t.Errorf("%v after %s, and nobody is coming any more", err, time.Since(began))
		}
	})
}

// Whoever comes, stays away or gives up: a wait that succeeds was covered by a sync that began after it did.
func TestEveryWaitIsCoveredByASyncThatBeganAfterIt(t *testing.T) {
	t.Parallel()
	var began, finished atomic.Int64
	s := newSyncer(nothing, func() error {
		n := began.Add(1)
		runtime.Gosched()
		finished.Store(n)
		return nil
	}, nothing)
	var all sync.WaitGroup
	for w := range 16 {
		random := rand.New(rand.NewPCG(uint64(w), 1))
		all.Go(func() {
			for range 500 {
				turn := s.Turn()
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(4) > 0 {
					turn.Begin()
				}
				if random.IntN(4) == 0 {
					turn.End()
				}
				gaveUp := random.IntN(8) == 0
				if gaveUp {
					cancel()
				}
				before := began.Load()
				err := turn.Wait(ctx)
				if err == nil && finished.Load() <= before {
					t.Errorf("a wait that came when sync %d had begun ended after sync %d", before, finished.Load())
				}
				if err != nil && !gaveUp {
					t.Error(err)
				}
				turn.End()
				cancel()
			}
		})
	}
	all.Wait()
	if s.log.coming != 0 {
		t.Errorf("%d are said to be coming still", s.log.coming)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutASyncerNobodyWaits(t *testing.T) {
	t.Parallel()
	var none *Syncer
	turn := none.Turn()
	turn.Begin()
	defer turn.End()
	if err := turn.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
