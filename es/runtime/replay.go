package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/es/schema"
)

const replayPulse = 500 * time.Millisecond // how often progress is told at least

// source is a log to fold into models beside the ones that follow it.
type source struct {
	js      jetstream.JetStream
	tail    *nats.Conn // that messages come on; nil: that of js
	log     *natsstore.Log
	missing func(sequence uint64) (any, error)
}

// replay folds the log into a model, from its checkpoint on: up to a revision, and no further than the last commit
// before the first one of a later time than asOf, unless that is zero. Commits that were stored together are read
// together. Errors: what the projector says; permanent for a commit that cannot be read.
func (s source) replay(ctx context.Context, m *readmodel.Model, upTo es.Revision, asOf time.Time, progress func(done, total es.Revision)) (err error) {
	if at, _ := m.Checkpoint(); at >= upTo {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	durable := "replay-" + newID()
	fault := make(chan error, 1)
	sub := NewBatchSubscriber(BatchConfig{
		JetStream: s.js, Conn: s.tail, Stream: natsstore.EventsStream, Durable: durable, Size: 2000, Inactive: time.Minute,
		Next:    func() uint64 { revision, _ := m.Checkpoint(); return uint64(revision) + 1 },
		Decode:  commitsFor(s.log, m.Projector().Interest),
		Missing: s.missing,
		Fault: func(err error) {
			if err != nil {
				select {
				case fault <- err:
				default:
				}
			}
		},
	})
	batches, err := sub.Subscribe(ctx, "events.>")
	if err != nil {
		return err
	}
	defer func() {
		stop()
		err = errors.Join(err, sub.Close())
		forget, cancel := detached(ctx, time.Second)
		defer cancel()
		// One that stays behind is forgotten by the server after a minute.
		if gone := s.js.DeleteConsumer(forget, natsstore.EventsStream, durable); gone != nil && err == nil && ctx.Err() == nil {
			err = gone
		}
	}()
	pulse := time.NewTicker(replayPulse)
	defer pulse.Stop()
	for {
		select {
		case msg := <-batches:
			b := BatchFrom(msg.Context())
			n, ended := cut(b, upTo, asOf)
			batch, bad := gather(&Batch{Items: b.Items[:n], First: b.First}, m.Skipped())
			if batch.Last > 0 {
				if err := m.Apply(ctx, batch); err != nil {
					msg.Nack()
					return err
				}
			}
			if bad != nil {
				msg.Nack()
				return bad
			}
			msg.Ack()
			done, _ := m.Checkpoint()
			if progress(done, upTo); ended || done >= upTo {
				return nil
			}
		case <-pulse.C:
			done, _ := m.Checkpoint()
			progress(done, upTo)
		case err := <-fault:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cut returns how many of a batch's commits lie before the bounds, and whether one lies behind. What begins before a
// bound is read to its end.
func cut(b *Batch, upTo es.Revision, asOf time.Time) (n int, ended bool) {
	for i, item := range b.Items {
		past := es.Revision(b.First)+es.Revision(i) > upTo
		if events, ok := item.([]es.Recorded); ok && !asOf.IsZero() {
			past = past || slices.ContainsFunc(events, func(r es.Recorded) bool { return r.Time.After(asOf) })
		}
		if past && (i == 0 || b.Whole[i-1]) {
			return i, true
		}
	}
	return len(b.Items), false
}

// Replay folds the log into a model of the caller's own, as it was at a point, and returns the revision reached. A
// zero range means now. Errors: InvalidError for a point in the future; what the projector says.
func Replay(ctx context.Context, nc *nats.Conn, domain es.Domain, m *readmodel.Model, r es.Range, progress func(done, total es.Revision)) (es.Revision, error) {
	schemas, err := schema.New(domain)
	if err != nil {
		return 0, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	log, err := natsstore.NewLog(nc, schemas)
	if err != nil {
		return 0, err
	}
	last, err := log.LastRevision(ctx)
	if err != nil {
		return 0, err
	}
	if err := notInFuture(r, last); err != nil {
		return 0, err
	}
	upTo := last
	if r.UpTo > 0 {
		upTo = r.UpTo
	}
	s := source{js: js, log: log, missing: func(sequence uint64) (any, error) { return log.At(ctx, es.Revision(sequence)) }}
	err = s.replay(ctx, m, upTo, r.AsOf, progress)
	at, _ := m.Checkpoint()
	return at, err
}

// notInFuture refuses a point that the log has not reached: what it would show now may not be what it will show then.
func notInFuture(r es.Range, last es.Revision) error {
	if r.AsOf.After(time.Now().Add(time.Second)) {
		return &es.InvalidError{Code: "in_future", Message: fmt.Sprintf("asOf %s is in the future", r.AsOf.Format(time.RFC3339))}
	}
	if r.UpTo > last {
		return &es.InvalidError{Code: "in_future", Message: fmt.Sprintf("asOf %d is in the future: the log's last revision is %d", r.UpTo, last)}
	}
	return nil
}
