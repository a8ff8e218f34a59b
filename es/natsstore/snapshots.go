package natsstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// Snapshots keeps the last snapshot of every aggregate in SNAPSHOTS, on `snapshots.<category>.<id>`. Data is the
// engine's own JSON. Nothing here is the truth: a snapshot may be old, or of a log that has lost its tail since.
type Snapshots struct {
	nc        *nats.Conn
	publisher *Publisher
}

// NewSnapshots needs the streams to be set up.
func NewSnapshots(nc *nats.Conn) *Snapshots { return &Snapshots{nc, NewPublisher(nc)} }

func snapshotSubject(s es.Stream) string { return "snapshots." + s.Category + "." + s.ID }

// Save replaces a stream's snapshot.
func (s *Snapshots) Save(ctx context.Context, stream es.Stream, data []byte) error {
	if err := stream.Validate(); err != nil {
		return err
	}
	_, err := s.publisher.publish(ctx, snapshotSubject(stream), message.NewMessage(watermill.NewShortUUID(), data))
	return err
}

// Load returns a stream's snapshot as whichever replica answers knows it; nil: it has none.
func (s *Snapshots) Load(ctx context.Context, stream es.Stream) ([]byte, error) {
	if err := stream.Validate(); err != nil {
		return nil, err
	}
	subject := snapshotSubject(stream)
	m, err := s.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+SnapshotsStream+"."+subject, nil)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("%s: %w", subject, err))
	}
	switch {
	case !isStatus(m):
		return m.Data, nil
	case m.Header.Get("Status") == "404":
		return nil, nil
	default:
		return nil, es.Transient(errors.New(subject + ": status " + m.Header.Get("Status") + " " + m.Header.Get("Description")))
	}
}
