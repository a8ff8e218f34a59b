package natsstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// Span is a part of the log. The zero value is all of it.
type Span struct {
	Category string      // only its commits; "" = all
	UpTo     es.Revision // only commits up to this one; 0: as far as the log goes when reading begins
	Since    time.Time   // only commits stored since then; zero: from the beginning
}

// Stored is a commit as it stands in the log.
type Stored struct {
	Subject  string
	Header   nats.Header
	Data     []byte
	Revision es.Revision
}

// Each calls f with every commit of a part of the log, in its order. last is the newest of them, for a progress bar.
// ErrCorrupt: one is missing. What f returns ends it.
func (l *Log) Each(ctx context.Context, s Span, f func(c Stored, last es.Revision) error) error {
	filter := eventsPrefix + "*.*"
	if s.Category != "" {
		if !es.ValidID(s.Category) {
			return (es.Stream{Category: s.Category, ID: "x"}).Validate()
		}
		filter = eventsPrefix + s.Category + ".*"
	}
	newest, err := l.get(ctx, request{LastFor: filter})
	if err != nil || newest == nil {
		return err
	}
	last := es.Revision(newest.seq)
	if s.UpTo > 0 {
		last = min(last, s.UpTo)
	}
	it, err := l.messages(ctx, filter, s.Since)
	if err != nil || it == nil {
		return err
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for at := es.Revision(0); ; {
		m, err := it.Next()
		if err != nil {
			return es.Transient(fmt.Errorf("read %s after revision %d: %w", filter, at, errors.Join(ctx.Err(), err)))
		}
		meta, err := m.Metadata()
		if err != nil {
			return es.Transient(fmt.Errorf("read %s after revision %d: %w", filter, at, err))
		}
		found := es.Revision(meta.Sequence.Stream)
		if whole := s.Category == "" && (at > 0 || s.Since.IsZero()); whole && found != at+1 {
			return fmt.Errorf("%w: revision %d is missing, %d came instead; restore it from a replica or a backup", es.ErrCorrupt, at+1, found)
		}
		at = found
		if at > last { // with a category, none may stand at the end itself
			return nil
		}
		if err := f(Stored{m.Subject(), m.Headers(), m.Data(), at}, last); err != nil || at == last {
			return err
		}
	}
}

// messages opens the log for reading; nil when nothing was stored since then.
func (l *Log) messages(ctx context.Context, filter string, since time.Time) (jetstream.MessagesContext, error) {
	js, err := jetstream.New(l.in.nc)
	if err != nil {
		return nil, es.Permanent(err)
	}
	config := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverAllPolicy}
	if !since.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	consumer, err := js.OrderedConsumer(ctx, EventsStream, config)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("read %s: %w", filter, err))
	}
	if info, err := consumer.Info(ctx); err != nil {
		return nil, es.Transient(fmt.Errorf("read %s: %w", filter, err))
	} else if !since.IsZero() && info.NumPending == 0 {
		return nil, nil
	}
	it, err := consumer.Messages()
	if err != nil {
		return nil, es.Transient(fmt.Errorf("read %s: %w", filter, err))
	}
	return it, nil
}

// Read decodes a stored commit, as Decode.
func (l *Log) Read(c Stored) ([]es.Recorded, error) {
	return l.Decode(c.Subject, c.Header, c.Data, uint64(c.Revision))
}

// MayCorrelate tells, without decoding, whether a commit may hold an event with a correlation id: what says no has
// none.
func (c Stored) MayCorrelate(correlation string) bool {
	if c.Header.Get(contentType) == "" {
		return c.Header.Get(headerPrefix+"correlationid") == escape(correlation)
	}
	return bytes.Contains(c.Data, quoted(correlation))
}

// quoted is a text as encode writes it into a batch.
func quoted(text string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		return nil // not reached: a string always has JSON; nil is found everywhere
	}
	return bytes.TrimSpace(b.Bytes())
}
