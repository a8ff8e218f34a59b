package natsstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Syncer makes durable what the embedded server has acknowledged, with one sync of the file system for all who wait.
// JetStream has written a message to the operating system when it acknowledges it; a sync that begins after that
// covers it. Invariants:
//
//  1. Wait returns nil only after a sync that began after Wait was called has succeeded.
//  2. After a failed sync no Wait ever succeeds again: the kernel reports lost pages once, and a later sync would
//     succeed over them. The process must end.
type Syncer struct {
	sync  func() error
	close func() error

	mu     sync.Mutex
	round  *syncRound // the next one; those who wait gather in it
	wake   chan struct{}
	stop   chan struct{}
	ended  chan struct{}
	failed chan struct{}
	err    error

	rounds  atomic.Uint64
	served  atomic.Uint64
	elapsed atomic.Int64
}

type syncRound struct {
	waiting int
	done    chan struct{}
	err     error
}

// SyncStats are a Syncer's figures since it began.
type SyncStats struct {
	Syncs  uint64        // of the file system
	Served uint64        // waits that they answered
	Busy   time.Duration // spent in them
}

// NewSyncer opens the data directory's file system. It must be open before the server writes there, or an error of
// the disk could be reported to somebody else.
func NewSyncer(dir string) (*Syncer, error) {
	sync, closeFile, err := openSync(dir)
	if err != nil {
		return nil, es.Permanent(fmt.Errorf("data directory %s cannot be synced: %w", dir, err))
	}
	return newSyncer(sync, closeFile), nil
}

func newSyncer(sync, closeFile func() error) *Syncer {
	s := &Syncer{
		sync: sync, close: closeFile,
		round: &syncRound{done: make(chan struct{})},
		wake:  make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}), failed: make(chan struct{}),
	}
	go s.run()
	return s
}

// Wait returns when everything acknowledged before the call is on disk. ErrUnknownOutcome: it did not come to that,
// and what was acknowledged may be lost with the power.
func (s *Syncer) Wait(ctx context.Context) error {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return s.err
	}
	r := s.round
	r.waiting++
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("%w: not synced to disk yet: %w", es.ErrUnknownOutcome, ctx.Err())
	}
}

func (s *Syncer) run() {
	defer close(s.ended)
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			s.fail(errors.New("the process is stopping"))
			return
		}
		s.mu.Lock()
		r := s.round
		if r.waiting == 0 {
			s.mu.Unlock()
			continue
		}
		s.round = &syncRound{done: make(chan struct{})}
		s.mu.Unlock()
		began := time.Now()
		err := s.sync()
		s.elapsed.Add(int64(time.Since(began)))
		s.rounds.Add(1)
		if err != nil {
			s.fail(fmt.Errorf("sync to disk: %w", err))
			r.err = s.Err()
			close(r.done)
			close(s.failed)
			return
		}
		s.served.Add(uint64(r.waiting))
		close(r.done)
	}
}

// fail makes every later Wait fail, those of the gathering round included.
func (s *Syncer) fail(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = fmt.Errorf("%w: %w", es.ErrUnknownOutcome, why)
	s.round.err = s.err
	close(s.round.done)
}

// Failed is closed when a sync has failed: nothing more can be promised, and the process must end. Err says why.
func (s *Syncer) Failed() <-chan struct{} { return s.failed }

// Err is why Wait fails; nil while it does not.
func (s *Syncer) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stats returns the figures so far.
func (s *Syncer) Stats() SyncStats {
	return SyncStats{s.rounds.Load(), s.served.Load(), time.Duration(s.elapsed.Load())}
}

// Close ends the Syncer; who still waits is told so.
func (s *Syncer) Close() error {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	<-s.ended
	return s.close()
}
