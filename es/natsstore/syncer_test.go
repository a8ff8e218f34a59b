package natsstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
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
	s := newSyncer(h.sync, nothing)
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
		waiting = s.round.waiting
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
	s := newSyncer(h.sync, nothing)
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
		waiting = s.round.waiting
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

func TestWaitingEndsWithTheContextOrTheSyncer(t *testing.T) {
	t.Parallel()
	h := newHeldSync()
	s := newSyncer(h.sync, nothing)
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
	s, err := NewSyncer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewSyncer("/does/not/exist"); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
