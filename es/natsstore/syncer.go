package natsstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Syncer makes durable what the embedded server has acknowledged, with one sync for all who wait. JetStream has
// written a message to the operating system when it acknowledges it; a sync that begins after that covers it.
//
// There are two kinds, side by side. Wait is for everything on the file system, which may take long when others write
// there too; a Turn is for the log alone, the wait of most. Invariants:
//
//  1. A wait returns nil only after a sync of its kind that began after it was called has succeeded.
//  2. After a failed sync, of either kind, no wait ever succeeds again: the kernel reports lost pages once, and a later
//     sync would succeed over them. The process must end.
//
// A sync costs as much for one as for many, and more while others append. So it is put off for those whose turn has
// begun, but never for longer than patience.
type Syncer struct {
	everything, log *lane
	close           func() error

	mu     sync.Mutex
	err    error
	stop   chan struct{}
	ended  sync.WaitGroup
	failed chan struct{}
	latch  func() // closes failed

	rounds  atomic.Uint64
	served  atomic.Uint64
	elapsed atomic.Int64
}

// patience bounds how long those who wait are kept for those who are coming: a few times what an append takes.
const patience = 2 * time.Millisecond

// lane is one kind of sync. Its fields are used under the Syncer's lock, the channel apart.
type lane struct {
	sync   func() error
	round  *syncRound    // the next one; those who wait gather in it
	coming int           // turns that have begun and do not wait yet
	wake   chan struct{} // somebody waits, or nobody is coming any more
}

type syncRound struct {
	waiting int
	done    chan struct{}
	err     error
}

// SyncStats are a Syncer's figures since it began.
type SyncStats struct {
	Syncs  uint64        // of either kind
	Served uint64        // waits that they answered
	Busy   time.Duration // spent in them
}

// NewSyncer opens the data directory's file system; the log's files are in a directory below it, which may be missing
// yet. It must be open before the server writes there, or an error of the disk could be reported to somebody else.
func NewSyncer(dir, log string) (*Syncer, error) {
	sync, closeFile, err := openSync(dir)
	if err != nil {
		return nil, es.Permanent(fmt.Errorf("data directory %s cannot be synced: %w", dir, err))
	}
	b := &blocks{dir: log, everything: sync}
	return newSyncer(sync, b.sync, func() error {
		b.close()
		return closeFile()
	}), nil
}

func newSyncer(everything, log, closeFiles func() error) *Syncer {
	s := &Syncer{
		everything: newLane(everything), log: newLane(log), close: closeFiles,
		stop: make(chan struct{}), failed: make(chan struct{}),
	}
	s.latch = sync.OnceFunc(func() { close(s.failed) })
	for _, l := range s.lanes() {
		s.ended.Go(func() { s.run(l) })
	}
	return s
}

func newLane(sync func() error) *lane {
	return &lane{sync: sync, round: newRound(), wake: make(chan struct{}, 1)}
}

func newRound() *syncRound { return &syncRound{done: make(chan struct{})} }

func (s *Syncer) lanes() []*lane { return []*lane{s.everything, s.log} }

// Wait returns when everything acknowledged before the call is on disk, in whichever stream. ErrUnknownOutcome: it did
// not come to that, and what was acknowledged may be lost with the power.
func (s *Syncer) Wait(ctx context.Context) error { return s.wait(ctx, s.everything, false) }

// Turn is one append to the log on its way to the disk: Begin before it, Wait after it, End in any case. It is used by
// one goroutine at a time. Without a Syncer there is nothing to wait for.
type Turn struct {
	syncer *Syncer
	coming bool
}

// Turn returns one that has not begun. A nil Syncer has turns, too.
func (s *Syncer) Turn() *Turn { return &Turn{syncer: s} }

// Begin says that Wait will soon be called, unless End is.
func (t *Turn) Begin() {
	if t.syncer == nil || t.coming {
		return
	}
	t.coming = true
	t.syncer.mu.Lock()
	t.syncer.log.coming++
	t.syncer.mu.Unlock()
}

// Wait returns when everything in the log that was acknowledged before the call is on disk; the turn need not have
// begun. Errors as the Syncer's.
func (t *Turn) Wait(ctx context.Context) error {
	if t.syncer == nil {
		return nil
	}
	came := t.coming
	t.coming = false
	return t.syncer.wait(ctx, t.syncer.log, came)
}

// End says that Wait will not be called; after Wait it does nothing.
func (t *Turn) End() {
	if !t.coming {
		return
	}
	t.coming = false
	t.syncer.mu.Lock()
	t.syncer.log.arrived()
	t.syncer.mu.Unlock()
}

func (s *Syncer) wait(ctx context.Context, l *lane, came bool) error {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return s.err
	}
	r := l.round
	r.waiting++
	if came {
		l.arrived()
	}
	if r.waiting == 1 {
		l.signal()
	}
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("%w: not synced to disk yet: %w", es.ErrUnknownOutcome, ctx.Err())
	}
}

// arrived counts one less who is coming.
func (l *lane) arrived() {
	if l.coming--; l.coming == 0 {
		l.signal()
	}
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (s *Syncer) run(l *lane) {
	for {
		select {
		case <-l.wake:
		case <-s.stop:
			s.fail(errors.New("the process is stopping"))
			return
		}
		r := s.gather(l)
		if r == nil {
			continue
		}
		began := time.Now()
		err := l.sync()
		s.elapsed.Add(int64(time.Since(began)))
		s.rounds.Add(1)
		if err != nil {
			s.fail(fmt.Errorf("sync to disk: %w", err))
			s.latch()
		}
		select {
		case <-s.failed: // or that of the other kind has
			r.err = s.Err()
		default:
			s.served.Add(uint64(r.waiting))
		}
		close(r.done)
		// Those who have their answer go on first: what they append next then rides with those who wait already.
		runtime.Gosched()
	}
}

// gather ends the round when nobody is coming any more, at the latest after patience. nil: nobody waits.
func (s *Syncer) gather(l *lane) *syncRound {
	var late <-chan time.Time
	for isLate := false; ; {
		s.mu.Lock()
		if r := l.round; l.coming == 0 || r.waiting == 0 || isLate || s.err != nil {
			defer s.mu.Unlock()
			if r.waiting == 0 || s.err != nil {
				return nil
			}
			l.round = newRound()
			return r
		}
		s.mu.Unlock()
		if late == nil {
			late = time.After(patience)
		}
		select {
		case <-l.wake:
		case <-late:
			isLate = true
		}
	}
}

// fail makes every later wait fail, those of the gathering rounds included. Only the first reason counts.
func (s *Syncer) fail(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = fmt.Errorf("%w: %w", es.ErrUnknownOutcome, why)
	for _, l := range s.lanes() {
		l.round.err = s.err
		close(l.round.done)
	}
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
	s.ended.Wait()
	return s.close()
}
