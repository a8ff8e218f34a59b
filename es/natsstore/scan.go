package natsstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// Scan calls f with every message of a stream under a subject filter, oldest first. It asks the leader for one after
// the other instead of creating a consumer, so that messages deleted meanwhile neither stop nor end it; it is for
// streams that are short, or filters that match little.
func Scan(ctx context.Context, js jetstream.JetStream, stream, filter string, f func(*jetstream.RawStreamMsg) error) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return es.Transient(fmt.Errorf("stream %s: %w", stream, err))
	}
	for next := uint64(1); ; next++ {
		m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return es.Transient(fmt.Errorf("read %s of %s: %w", filter, stream, err))
		}
		if err := f(m); err != nil {
			return err
		}
		next = m.Sequence
	}
}

// Newest returns the last message under a subject filter as the stream's leader knows it, nil when there is none.
func Newest(ctx context.Context, js jetstream.JetStream, stream, filter string) (*jetstream.RawStreamMsg, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("stream %s: %w", stream, err))
	}
	m, err := s.GetLastMsgForSubject(ctx, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, es.Transient(fmt.Errorf("read %s of %s: %w", filter, stream, err))
	}
	return m, nil
}
