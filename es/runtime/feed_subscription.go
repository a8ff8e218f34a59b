package runtime

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// Subscription is one follower's. It must be read until its channel is closed, or its context ended.
type Subscription struct {
	feed   *feed
	filter Filter
	after  es.Revision
	out    chan Notice
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	queue []Notice
	bytes int
	lost  bool // the queue overflowed while catching up: what it lost is read from the log
	live  bool
	wake  chan struct{}
}

// C delivers in order, and is closed when the subscription has ended.
func (s *Subscription) C() <-chan Notice { return s.out }

// Err is nil while the subscription goes on, then why it ended: ErrSlow, the context's error or what else was wrong.
func (s *Subscription) Err() error { return context.Cause(s.ctx) }

// Close ends the subscription.
func (s *Subscription) Close() { s.cancel(context.Canceled) }

func (s *Subscription) run() {
	defer close(s.out)
	defer s.feed.leave(s)
	s.cancel(s.follow())
}

// follow catches up until nothing happened meanwhile that its queue could not hold, then goes on from the queue.
func (s *Subscription) follow() error {
	at := s.after
	for live := false; !live; {
		joined, err := s.feed.join(s)
		if err != nil {
			return err
		}
		if err := s.catchUp(at, joined); err != nil {
			return err
		}
		at = max(at, joined)
		live = s.settle()
	}
	if err := s.deliver(Notice{Revision: at, Live: true}); err != nil {
		return err
	}
	for {
		n, ok := s.pop()
		switch {
		case !ok:
			select {
			case <-s.wake:
			case <-s.ctx.Done():
				return context.Cause(s.ctx)
			}
		case n.Revision > at: // who begins ahead of the reader has seen the others
			if err := s.deliver(n); err != nil {
				return err
			}
		}
	}
}

// catchUp delivers what the log holds after one revision up to another, at the follower's pace.
func (s *Subscription) catchUp(after, upTo es.Revision) error {
	pause := newBackoff(50*time.Millisecond, 5*time.Second)
	for {
		var stopped error
		err := s.feed.log.Range(s.ctx, s.filter.part(), after, upTo, func(c natsstore.Stored) error {
			stopped = s.pass(c)
			after = c.Revision
			return stopped
		})
		switch {
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case err == nil, stopped != nil, !errors.Is(err, es.ErrTransient):
			return err
		}
		if !pause.wait(s.ctx) {
			return context.Cause(s.ctx)
		}
	}
}

func (s *Subscription) pass(c natsstore.Stored) error {
	n, ok, err := s.filter.read(s.feed.log, c)
	if err != nil || !ok {
		return err
	}
	return s.deliver(n)
}

func (s *Subscription) deliver(n Notice) error {
	select {
	case s.out <- n:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// push queues what has just happened. It returns false when the queue is full: the follower hears no more, and either
// catches up again or has ended.
func (s *Subscription) push(n Notice) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= s.feed.most || s.bytes >= s.feed.mostBytes {
		s.queue, s.bytes, s.lost = nil, 0, true
		if s.live {
			s.cancel(ErrSlow)
		}
		return false
	}
	s.queue = append(s.queue, n)
	s.bytes += n.commit.size
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

func (s *Subscription) pop() (n Notice, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return n, false
	}
	n, s.queue[0] = s.queue[0], Notice{}
	s.queue = s.queue[1:]
	s.bytes -= n.commit.size
	if len(s.queue) == 0 {
		s.queue = nil
	}
	return n, true
}

// settle makes the follower live, unless its queue lost something since it joined.
func (s *Subscription) settle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = !s.lost
	s.lost = false
	return s.live
}
