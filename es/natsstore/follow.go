package natsstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// How a follower reads: an outage shows within two seconds, and a consumer that nobody uses is soon forgotten.
const (
	followAhead     = 500
	followExpiry    = 10 * time.Second
	followHeartbeat = time.Second
	followForget    = 30 * time.Second
)

// Follow calls f with every commit of a part of the log (see Range) after a revision, those stored in the future
// included, in order and each once, until ctx ends or f returns an error; that is what it returns. Whatever the
// connection goes through, it goes on where it stood: interrupted hears of errors being tried again and, with nil, of
// their end.
func (l *Log) Follow(ctx context.Context, part es.Stream, after es.Revision, interrupted func(error), f func(Stored) error) error {
	filter, err := filterOf(part)
	if err != nil {
		return err
	}
	r := &following{log: l, whole: part == es.Stream{}, at: after, f: f, interrupted: interrupted}
	config := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: followForget,
	}
	if !r.whole { // a filter that lets all pass would cost the server a third more
		config.FilterSubject = filter
	}
	js, err := jetstream.New(l.in.nc)
	if err != nil {
		return es.Permanent(err)
	}
	var pause backoff
	for {
		begun := r.at
		config.OptStartSeq = uint64(r.at) + 1
		err := r.read(ctx, js, config)
		switch {
		case r.ended != nil:
			return r.ended
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, es.ErrPermanent):
			return err
		}
		interrupted(err)
		r.faulty = true
		if r.at > begun {
			pause = backoff{}
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// following is a part of the log being followed.
type following struct {
	log         *Log
	whole       bool // sequences must be without a gap
	at          es.Revision
	f           func(Stored) error
	ended       error // what f said
	interrupted func(error)
	faulty      bool
}

// read follows until something goes wrong. It is the client library's ordered consumer, but says so at once.
func (r *following) read(ctx context.Context, js jetstream.JetStream, config jetstream.ConsumerConfig) error {
	opening, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	consumer, err := js.CreateConsumer(opening, EventsStream, config)
	if err != nil {
		return es.Transient(fmt.Errorf("follow the log after revision %d: %w", r.at, err))
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(followAhead), jetstream.PullExpiry(followExpiry), jetstream.PullHeartbeat(followHeartbeat))
	if err != nil {
		return es.Transient(fmt.Errorf("follow the log after revision %d: %w", r.at, err))
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	if r.faulty {
		r.faulty = false
		r.interrupted(nil)
	}
	for delivery := uint64(1); ; delivery++ {
		m, err := it.Next()
		if err != nil {
			return es.Transient(fmt.Errorf("follow the log after revision %d: %w", r.at, err))
		}
		meta, err := m.Metadata()
		if err != nil {
			return es.Transient(fmt.Errorf("follow the log after revision %d: %w", r.at, err))
		}
		if meta.Sequence.Consumer != delivery {
			return es.Transient(fmt.Errorf("follow the log after revision %d: a message was lost on the way", r.at))
		}
		found := es.Revision(meta.Sequence.Stream)
		if r.whole && found > r.at+1 {
			// Nothing is ever deleted from the log, so a gap is a replica's, or damage; the leader tells.
			if err := r.log.Range(ctx, es.Stream{}, r.at, found-1, r.take); err != nil {
				return err
			}
		}
		if found <= r.at {
			continue
		}
		if err := r.take(Stored{m.Subject(), m.Headers(), m.Data(), found}); err != nil {
			return err
		}
	}
}

func (r *following) take(c Stored) error {
	if err := r.f(c); err != nil {
		r.ended = err
		return err
	}
	r.at = c.Revision
	return nil
}
