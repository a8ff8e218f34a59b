package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

// ErrSlow ends a subscription that has caught up and then takes so little that its queue overflows. Following again
// after the last revision seen loses nothing.
var ErrSlow = es.Transient(errors.New("the follower is too slow for what happens: follow again after the last revision it has seen"))

// errFeedClosed ends every subscription when the engine stops.
var errFeedClosed = es.Transient(errors.New("this process is stopping: follow again, elsewhere or later, after the last revision seen"))

// FollowFrom says where to begin. The zero value is the beginning of the log.
type FollowFrom struct {
	After es.Revision // the last revision that the follower has seen
	New   bool        // only what is stored from now on
}

// Notice is what a follower gets: the events of one commit that it asked for or, once, Live.
type Notice struct {
	Events   []es.Recorded // shared by all followers: not to be changed
	Revision es.Revision   // of the commit; to be followed after, when the follower comes back
	Live     bool          // the past is through up to Revision: what comes next has just happened

	commit *followed
	chosen []int // of the commit's events; nil: all
}

// CloudEvents are the events as CloudEvents 1.0 JSON, in their types' newest versions. They are encoded once for all
// followers: not to be changed.
func (n Notice) CloudEvents() ([]json.RawMessage, error) {
	if n.commit == nil {
		return nil, nil
	}
	all, err := n.commit.encode()
	if err != nil || n.chosen == nil {
		return all, err
	}
	some := make([]json.RawMessage, len(n.chosen))
	for i, at := range n.chosen {
		some[i] = all[at]
	}
	return some, nil
}

// followed is a commit on its way to followers.
type followed struct {
	events []es.Recorded
	size   int // bytes in the log
	log    *natsstore.Log
	encode func() ([]json.RawMessage, error) // once
}

func newFollowed(log *natsstore.Log, c natsstore.Stored) (*followed, error) {
	events, err := log.ReadAny(c)
	if err != nil {
		return nil, err
	}
	return &followed{events: events, size: len(c.Data), log: log, encode: sync.OnceValues(func() ([]json.RawMessage, error) {
		all := make([]json.RawMessage, len(events))
		for i, r := range events {
			if all[i], err = log.CloudEvent(r); err != nil {
				return nil, err
			}
		}
		return all, nil
	})}, nil
}

func (c *followed) stream() es.Stream     { return c.events[0].Stream }
func (c *followed) revision() es.Revision { return c.events[0].Revision }

// feed lets many follow the log with one reader. Invariants:
//
//  1. A follower is in live exactly while its queue hears of every commit behind the position at which it joined.
//  2. The position only moves, and commits are only handed out, under mu: who joins at a position misses nothing
//     behind it and has everything up to it in the log.
//  3. What is at or before the position is synced, in durable mode.
type feed struct {
	log        *natsstore.Log
	schemas    *schema.Registry
	durability *durability
	fault      func(error) // hears of errors being tried again and, with nil, of their end
	work       *sync.WaitGroup
	linger     time.Duration // the reader goes on so long after the last follower has left
	most       int           // commits in a live follower's queue
	mostBytes  int
	metrics    feedMetrics

	mu        sync.Mutex
	closed    bool
	followers map[*Subscription]struct{}
	live      map[string]map[*Subscription]struct{} // by Filter.key
	reader    *feedReader
	idle      *time.Timer
}

type feedMetrics struct {
	followers prometheus.Gauge
	slow      prometheus.Counter
}

func newFeed(e *Engine) *feed {
	f := &feed{
		log: e.log, schemas: e.schemas, durability: e.durability, work: &e.background,
		fault:  func(err error) { e.fault("followers", err) },
		linger: 30 * time.Second, most: 4096, mostBytes: 16 << 20,
		followers: map[*Subscription]struct{}{}, live: map[string]map[*Subscription]struct{}{},
		metrics: feedMetrics{
			followers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "millstream_followers", Help: "Subscriptions that follow the log through this process."}),
			slow:      prometheus.NewCounter(prometheus.CounterOpts{Name: "millstream_followers_slow_total", Help: "Subscriptions ended since their follower was too slow."}),
		},
	}
	e.cfg.Metrics.MustRegister(f.metrics.followers, f.metrics.slow)
	return f
}

// Follow delivers the matching events of every commit, in order, each once: those in the log first, then those that
// happen. While it catches up a follower may be as slow as it likes; once it is live, ErrSlow ends it when it falls
// behind further than its queue holds. In durable mode nothing is delivered before it is synced. The subscription ends
// with ctx. Errors: InvalidError for a filter that matches nothing this domain has and for a revision in the future.
func (e *Engine) Follow(ctx context.Context, f Filter, from FollowFrom) (*Subscription, error) {
	return e.feed.follow(ctx, f, from)
}

func (f *feed) follow(ctx context.Context, filter Filter, from FollowFrom) (*Subscription, error) {
	if err := filter.Check(f.schemas); err != nil {
		return nil, err
	}
	after, err := f.start(ctx, from)
	if err != nil {
		return nil, err
	}
	s := &Subscription{feed: f, filter: filter, after: after, out: make(chan Notice), wake: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		s.cancel(errFeedClosed)
		return nil, errFeedClosed
	}
	f.followers[s] = struct{}{}
	f.metrics.followers.Inc()
	f.work.Go(s.run)
	return s, nil
}

// start is the revision that a follower begins after.
func (f *feed) start(ctx context.Context, from FollowFrom) (es.Revision, error) {
	switch {
	case from.New && from.After > 0:
		return 0, &es.InvalidError{Code: "malformed", Message: "either after a revision or new: both were given"}
	case !from.New && from.After == 0:
		return 0, nil
	}
	last, err := f.log.LastRevision(ctx)
	switch {
	case err != nil:
		return 0, err
	case from.New:
		return last, nil
	case from.After > last:
		return 0, &es.InvalidError{Code: "in_future", Message: fmt.Sprintf("after %d is in the future: the log's last revision is %d", from.After, last)}
	}
	return from.After, nil
}

// join lets a follower hear of what happens from now on, and returns the position behind which it does.
func (f *feed) join(s *Subscription) (es.Revision, error) {
	for {
		f.mu.Lock()
		if err := context.Cause(s.ctx); err != nil {
			f.mu.Unlock()
			return 0, err
		}
		r := f.reader
		if r == nil {
			r = f.startReader()
		}
		f.mu.Unlock()
		select {
		case <-r.begun:
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		}
		f.mu.Lock()
		if f.reader == r {
			key := s.filter.key()
			if f.live[key] == nil {
				f.live[key] = map[*Subscription]struct{}{}
			}
			f.live[key][s] = struct{}{}
			at := r.position
			f.mu.Unlock()
			return at, nil
		}
		f.mu.Unlock()
	}
}

// part lets a follower hear no more. The caller holds mu.
func (f *feed) part(s *Subscription) {
	key := s.filter.key()
	delete(f.live[key], s)
	if len(f.live[key]) == 0 {
		delete(f.live, key)
	}
}

// leave forgets a follower that has ended, and stops the reader some time after the last one.
func (f *feed) leave(s *Subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.part(s)
	delete(f.followers, s)
	f.metrics.followers.Dec()
	if errors.Is(s.Err(), ErrSlow) {
		f.metrics.slow.Inc()
	}
	if len(f.followers) > 0 || f.closed {
		return
	}
	if f.idle != nil {
		f.idle.Stop()
	}
	f.idle = time.AfterFunc(f.linger, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.followers) == 0 {
			f.stopReader()
		}
	})
}

// publish hands a commit to everybody who wants it.
func (f *feed) publish(r *feedReader, c *followed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.position = c.revision()
	stream := c.stream()
	for _, key := range [...]string{stream.String(), stream.Category, ""} {
		for s := range f.live[key] {
			if n, ok := s.filter.choose(c); ok && !s.push(n) {
				f.part(s)
			}
		}
	}
}

// close ends every subscription.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.idle != nil {
		f.idle.Stop()
	}
	for s := range f.followers {
		s.cancel(errFeedClosed)
	}
	f.stopReader()
}
