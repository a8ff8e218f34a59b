package natsstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// CloudEvent is one event with all its attributes, as a line of an archive has it: in the version it was stored in.
type CloudEvent struct {
	envelope
	Together string `json:"together,omitempty"` // "2/3": the commit is the second of three that were stored as one
}

// Stream is whose event it is, as it says itself.
func (e CloudEvent) Stream() string { return e.Subject }

// Number is the event's version within its stream.
func (e CloudEvent) Number() uint64 { return e.Version }

// First reports whether a commit begins with the event.
func (e CloudEvent) First() bool { return strings.HasSuffix(e.ID, "/1") }

// CloudEvents takes a stored commit apart. Permanent error: it is not one.
func (c Stored) CloudEvents() ([]CloudEvent, error) {
	envelopes, err := open(c.Header, c.Data)
	if err != nil {
		return nil, es.Permanent(fmt.Errorf("%s at revision %d does not read as a commit: %w", c.Subject, c.Revision, err))
	}
	events := make([]CloudEvent, len(envelopes))
	for i, e := range envelopes {
		events[i] = CloudEvent{e, c.Header.Get(headerTogether)}
	}
	return events, nil
}

// Check reports what keeps an archived commit from being restored. Permanent error: it is none, or this program does
// not know its events.
func (l *Log) Check(commit []CloudEvent) error {
	m, err := restored(commit)
	if err != nil {
		return err
	}
	if _, err := decode(l.codec, m.Subject, parsed(m.Header), m.Data, 0); err != nil {
		return es.Permanent(err)
	}
	return nil
}

// Restore stores an archived commit as it was: ids, versions, times and all. Errors as Append.
func (l *Log) Restore(ctx context.Context, commit []CloudEvent, expected es.Revision) (es.Revision, error) {
	m, err := restored(commit)
	if err != nil {
		return 0, err
	}
	return l.publisher.append(ctx, m, expected)
}

// restored makes the message that a commit was stored as.
func restored(commit []CloudEvent) (*nats.Msg, error) {
	if len(commit) == 0 {
		return nil, es.Permanent(fmt.Errorf("a commit holds no events"))
	}
	stream, err := es.ParseStream(commit[0].Subject)
	if err != nil {
		return nil, err
	}
	envelopes := make([]envelope, len(commit))
	for i, e := range commit {
		envelopes[i] = e.envelope
	}
	m, err := pack(stream, envelopes)
	if err != nil {
		return nil, err
	}
	if commit[0].Together != "" {
		m.Header.Set(headerTogether, commit[0].Together)
	}
	return m, nil
}
