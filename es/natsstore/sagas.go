package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// SagaLog keeps each process's transitions in SAGAS, one message a transition on `sagas.<saga>.<key>`. The last is
// the state; all together are the audit trail. The guard on the subject fences two workers.
type SagaLog struct {
	js        jetstream.JetStream
	publisher *Publisher
}

// NewSagaLog needs the streams to be set up.
func NewSagaLog(js jetstream.JetStream) *SagaLog { return &SagaLog{js, NewPublisher(js.Conn())} }

// SagaEntry is one stored transition. Data is the engine's own JSON.
type SagaEntry struct {
	Key      string
	Data     []byte
	Sequence uint64
	Time     time.Time // when it was stored
}

func sagaSubject(saga, key string) string { return "sagas." + saga + "." + key }

// Last returns the newest transition as the stream's leader knows it; Sequence 0: the process has not begun.
func (l *SagaLog) Last(ctx context.Context, saga, key string) (SagaEntry, error) {
	stream, err := l.js.Stream(ctx, SagasStream)
	if err != nil {
		return SagaEntry{}, es.Transient(fmt.Errorf("stream %s: %w", SagasStream, err))
	}
	m, err := stream.GetLastMsgForSubject(ctx, sagaSubject(saga, key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return SagaEntry{Key: key}, nil
	}
	if err != nil {
		return SagaEntry{}, es.Transient(fmt.Errorf("saga %s/%s: %w", saga, key, err))
	}
	return SagaEntry{key, m.Data, m.Sequence, m.Time}, nil
}

// Append stores a transition after the one at sequence expected (0: it is the first). ErrConflict: another worker
// was there first. ErrUnknownOutcome: read Last to learn.
func (l *SagaLog) Append(ctx context.Context, saga, key string, data []byte, expected uint64) (uint64, error) {
	m := message.NewMessage(watermill.NewShortUUID(), data)
	sequence, err := l.publisher.Append(ctx, sagaSubject(saga, key), m, es.Revision(expected))
	return uint64(sequence), err
}

// Each calls f with the last transition of every process of a saga, as of now.
func (l *SagaLog) Each(ctx context.Context, saga string, f func(SagaEntry) error) error {
	return l.read(ctx, sagaSubject(saga, "*"), jetstream.DeliverLastPerSubjectPolicy, f)
}

// History calls f with every transition of one process, oldest first.
func (l *SagaLog) History(ctx context.Context, saga, key string, f func(SagaEntry) error) error {
	return l.read(ctx, sagaSubject(saga, key), jetstream.DeliverAllPolicy, f)
}

func (l *SagaLog) read(ctx context.Context, subject string, from jetstream.DeliverPolicy, f func(SagaEntry) error) error {
	consumer, err := l.js.OrderedConsumer(ctx, SagasStream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: from})
	if err != nil {
		return es.Transient(fmt.Errorf("read %s: %w", subject, err))
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return es.Transient(fmt.Errorf("read %s: %w", subject, err))
	}
	defer func() {
		// Left to itself it would count for minutes against the stream's limit of consumers.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = l.js.DeleteConsumer(ctx, SagasStream, consumer.CachedInfo().Name)
	}()
	if info.NumPending == 0 {
		return nil
	}
	it, err := consumer.Messages()
	if err != nil {
		return es.Transient(fmt.Errorf("read %s: %w", subject, err))
	}
	defer it.Stop()
	stop := context.AfterFunc(ctx, it.Stop)
	defer stop()
	for {
		m, err := it.Next()
		if err != nil {
			return es.Transient(fmt.Errorf("read %s: %w", subject, errors.Join(ctx.Err(), err)))
		}
		meta, err := m.Metadata()
		if err != nil {
			return es.Transient(fmt.Errorf("read %s: %w", subject, err))
		}
		key := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
		if err := f(SagaEntry{key, m.Data(), meta.Sequence.Stream, meta.Timestamp}); err != nil {
			return err
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}
