package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// feedReader is the one reader of the log for all followers of a process.
type feedReader struct {
	feed     *feed
	ctx      context.Context
	cancel   context.CancelFunc
	begun    chan struct{} // closed when position is known
	position es.Revision   // of the last commit handed out, or before the first; feed.mu
}

// startReader begins at the end of the log. The caller holds mu.
func (f *feed) startReader() *feedReader {
	r := &feedReader{feed: f, begun: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	f.reader = r
	f.work.Go(func() {
		if err := r.run(); r.ctx.Err() == nil {
			r.fail(err)
		}
	})
	return r
}

// stopReader ends reading; who comes later starts a new one. The caller holds mu.
func (f *feed) stopReader() {
	if f.reader != nil {
		f.reader.cancel()
		f.reader = nil
	}
}

// fail ends all subscriptions: what the reader cannot read, no follower may miss without being told.
func (r *feedReader) fail(err error) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader != r {
		return
	}
	f.stopReader()
	for s := range f.followers {
		s.cancel(err)
	}
}

// ahead is how many commits are read before those in front of them are synced and handed out.
const ahead = 256

func (r *feedReader) run() error {
	position, err := r.begin()
	if err != nil {
		return err
	}
	r.feed.mu.Lock()
	r.position = position
	r.feed.mu.Unlock()
	close(r.begun)
	commits := make(chan *followed, ahead)
	ended := make(chan error, 1)
	r.feed.work.Go(func() {
		ended <- r.feed.log.Follow(r.ctx, es.Stream{}, position, r.feed.fault, func(c natsstore.Stored) error {
			f, err := newFollowed(r.feed.log, c)
			if err != nil {
				return err
			}
			select {
			case commits <- f:
				return nil
			case <-r.ctx.Done():
				return r.ctx.Err()
			}
		})
	})
	for batch := make([]*followed, 0, ahead); ; batch = batch[:0] {
		select {
		case c := <-commits:
			batch = append(batch, c)
		case err := <-ended:
			return err
		}
		for more := true; more && len(batch) < ahead; {
			select {
			case c := <-commits:
				batch = append(batch, c)
			default:
				more = false
			}
		}
		if err := r.feed.durability.reach(r.ctx, batch[len(batch)-1].revision()); err != nil {
			return err
		}
		for _, c := range batch {
			r.feed.publish(r, c)
		}
	}
}

// begin returns the end of the log, synced in durable mode; it tries until the leader tells.
func (r *feedReader) begin() (es.Revision, error) {
	pause := newBackoff(50*time.Millisecond, 5*time.Second)
	for {
		last, err := r.feed.log.LastRevision(r.ctx)
		if err == nil {
			r.feed.fault(nil)
			return last, r.feed.durability.reach(r.ctx, last)
		}
		if !errors.Is(err, es.ErrTransient) {
			return 0, err
		}
		r.feed.fault(err)
		if !pause.wait(r.ctx) {
			return 0, r.ctx.Err()
		}
	}
}
