package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// Newest returns a stream's snapshot as the leader has it, with when it was stored; nil: it has none.
func (s *Snapshots) Newest(ctx context.Context, stream es.Stream) (*jetstream.RawStreamMsg, error) {
	if err := stream.Validate(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return nil, es.Permanent(err)
	}
	return Newest(ctx, js, SnapshotsStream, snapshotSubject(stream))
}

// Drop takes a stream's snapshot away; had says whether it had one.
func (s *Snapshots) Drop(ctx context.Context, stream es.Stream) (had bool, err error) {
	found, err := s.Newest(ctx, stream)
	if err != nil || found == nil {
		return false, err
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return false, es.Permanent(err)
	}
	all, err := js.Stream(ctx, SnapshotsStream)
	if err == nil {
		err = all.Purge(ctx, jetstream.WithPurgeSubject(snapshotSubject(stream)))
	}
	if err != nil {
		return false, es.Transient(fmt.Errorf("drop %s: %w", snapshotSubject(stream), err))
	}
	return true, nil
}

// EachAfter calls f with the snapshots of a category ("": of all) that were stored after a sequence, oldest first, as
// long as f returns true.
func (s *Snapshots) EachAfter(ctx context.Context, category string, after uint64, f func(stream es.Stream, m *jetstream.RawStreamMsg) bool) error {
	filter := "snapshots.*.*"
	if category != "" {
		if err := (es.Stream{Category: category, ID: "x"}).Validate(); err != nil {
			return err
		}
		filter = "snapshots." + category + ".*"
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return es.Permanent(err)
	}
	all, err := js.Stream(ctx, SnapshotsStream)
	if err != nil {
		return es.Transient(fmt.Errorf("stream %s: %w", SnapshotsStream, err))
	}
	for {
		m, err := all.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return es.Transient(fmt.Errorf("read %s of %s: %w", filter, SnapshotsStream, err))
		}
		after = m.Sequence
		if tokens := strings.Split(m.Subject, "."); len(tokens) == 3 && !f(es.Stream{Category: tokens[1], ID: tokens[2]}, m) {
			return nil
		}
	}
}

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
