package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

// SnapshotInfo says what stands in a stored snapshot. A snapshot is only a cache: the log holds the truth.
type SnapshotInfo struct {
	Stream   string      `json:"stream"`
	Version  uint64      `json:"version"`
	Revision es.Revision `json:"revision"`
	EventID  string      `json:"eventId"`
	Time     time.Time   `json:"time"` // of the last event in it
	StoredAt time.Time   `json:"storedAt"`
	Bytes    int         `json:"bytes"`
	Commands int         `json:"commands"`        // command ids that it remembers
	Fault    string      `json:"fault,omitempty"` // why it cannot be read
}

// SnapshotDetail is a snapshot with what it holds.
type SnapshotDetail struct {
	SnapshotInfo
	Fits    bool            `json:"fits"`              // a load would use it
	Ignored string          `json:"ignored,omitempty"` // why it would not: checksum, schema, state, log …
	State   json.RawMessage `json:"state,omitempty"`
}

// SnapshotStore is what operators can do about snapshots. It needs no running engine.
type SnapshotStore struct {
	js      jetstream.JetStream
	store   *natsstore.Snapshots
	schemas *schema.Registry
	log     es.Log
}

// NewSnapshotStore needs the streams to be set up, and a connection to the engine's account.
func NewSnapshotStore(nc *nats.Conn, schemas *schema.Registry, log es.Log) (*SnapshotStore, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &SnapshotStore{js, natsstore.NewSnapshots(nc), schemas, log}, nil
}

// List returns stored snapshots of a category ("": of all), those stored longest ago first: at most limit of those
// after the cursor, which is "" for the first page; next is "" when nothing is left.
func (s *SnapshotStore) List(ctx context.Context, category, cursor string, limit int) (page []SnapshotInfo, next string, err error) {
	after, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	if category != "" {
		if _, err := s.schemas.Aggregate(category); err != nil {
			return nil, "", err
		}
	}
	page = []SnapshotInfo{}
	err = s.store.EachAfter(ctx, category, after, func(stream es.Stream, m *jetstream.RawStreamMsg) bool {
		if len(page) == limit {
			next = fmt.Sprint(after)
			return false
		}
		info, _ := snapshotInfo(stream, m)
		page, after = append(page, info), m.Sequence
		return true
	})
	return page, next, err
}

func snapshotInfo(stream es.Stream, m *jetstream.RawStreamMsg) (SnapshotInfo, snapshot) {
	snap, fault := open(m.Data)
	return SnapshotInfo{
		Stream: stream.String(), Version: snap.Version, Revision: snap.Revision, EventID: snap.EventID, Time: snap.Time,
		StoredAt: m.Time, Bytes: len(m.Data), Commands: len(snap.Commands), Fault: fault,
	}, snap
}

// Show returns a stream's snapshot and whether a load would use it. NotFound rejection snapshot_not_found: it has none.
func (s *SnapshotStore) Show(ctx context.Context, stream es.Stream) (d SnapshotDetail, err error) {
	aggregate, err := s.schemas.Aggregate(stream.Category)
	if err != nil {
		return d, err
	}
	if err := stream.Validate(); err != nil {
		return d, err
	}
	m, err := s.store.Newest(ctx, stream)
	if err != nil {
		return d, err
	}
	if m == nil {
		return d, errNoSnapshot.With("%s has no snapshot", stream)
	}
	var snap snapshot
	d.SnapshotInfo, snap = snapshotInfo(stream, m)
	d.State = snap.State
	fitting := snapshots{store: s.store, hashes: stateHashes([]es.Aggregate{aggregate}, func(string, error) {})}
	_, result, err := fitting.fit(ctx, s.log, aggregate, stream, false)
	d.Fits = result == snapshotUsed
	if !d.Fits {
		d.Ignored = result
	}
	return d, err
}

// Drop takes a stream's snapshot away, on record: the next load of the aggregate reads its whole history, and another
// one is written when it is due. NotFound rejection snapshot_not_found: it has none.
func (s *SnapshotStore) Drop(ctx context.Context, stream es.Stream, by, reason string) error {
	if err := checkOperator(by, reason); err != nil {
		return err
	}
	had, err := s.store.Drop(ctx, stream)
	if err == nil && !had {
		return errNoSnapshot.With("%s has no snapshot", stream)
	}
	return record(ctx, s.js, OnSnapshots, stream.String(), Action{Kind: "drop", By: by, Reason: reason, State: "dropped"}, err)
}

var errNoSnapshot = es.NotFound("snapshot_not_found", "there is no such snapshot")
