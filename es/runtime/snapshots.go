package runtime

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

const (
	snapshotQueue = 256                   // snapshots that wait to be written
	snapshotWait  = time.Second           // for a snapshot, before the history is read without it
	snapshotWrite = 5 * time.Second       // for one to be stored
	costlyLoad    = 50 * time.Millisecond // a load that took longer is worth a snapshot
)

// snapshotStore keeps the last snapshot of each stream.
type snapshotStore interface {
	Save(ctx context.Context, s es.Stream, data []byte) error
	Load(ctx context.Context, s es.Stream) ([]byte, error) // nil: there is none
}

// snapshots keeps aggregates' states beside the log, so that loading one costs what happened since. They are written
// by one worker, never by a command, and are a hint: what does not fit the log is ignored. A nil one does nothing.
type snapshots struct {
	store   snapshotStore
	every   uint64
	hashes  map[string]string // of the states' schemas, by category; "": the state does not survive JSON
	queue   chan snapshotJob
	metrics *metrics
}

// snapshot is a state with what it stands on. Revision, event id, version and time are those of the last event folded
// in; a log that lost its tail has another event there, if any.
type snapshot struct {
	Revision es.Revision     `json:"revision"`
	EventID  string          `json:"eventId"`
	Version  uint64          `json:"version"`
	Time     time.Time       `json:"time"`
	Schema   string          `json:"schema"`
	State    json.RawMessage `json:"state"`
	Commands []remembered    `json:"commands"` // oldest first
}

// remembered is a command as a snapshot carries it.
type remembered struct {
	ID       string      `json:"id"`
	Hash     string      `json:"hash"`
	Revision es.Revision `json:"revision"`
	Version  uint64      `json:"version"`
	Events   []string    `json:"events"`
}

// sealed is a snapshot as stored; the checksum is that of its bytes.
type sealed struct {
	Checksum string          `json:"checksum"`
	Snapshot json.RawMessage `json:"snapshot"`
}

type snapshotJob struct {
	stream   es.Stream
	state    es.Folded // a value: it is encoded later, while the aggregate goes on
	snapshot snapshot
}

func newSnapshots(store snapshotStore, schemas *schema.Registry, every uint64, m *metrics) *snapshots {
	hashes := stateHashes(schemas.Aggregates(), func(category string, err error) {
		m.log.Warn("no snapshots are taken of an aggregate, whose loads will cost its whole history", "category", category, "reason", err)
	})
	return &snapshots{store: store, every: every, hashes: hashes, queue: make(chan snapshotJob, snapshotQueue), metrics: m}
}

func stateHashes(aggregates []es.Aggregate, unfit func(category string, err error)) map[string]string {
	hashes := map[string]string{}
	for _, a := range aggregates {
		hash, err := stateHash(a)
		if err != nil {
			unfit(a.Category(), err)
		}
		hashes[a.Category()] = hash
	}
	return hashes
}

// offer has a snapshot written when one is due or worth it. It never waits: when the worker is busy it is dropped, and
// offered again with the aggregate's next command.
func (s *snapshots) offer(stream es.Stream, i *instance, worth bool) {
	if s == nil || s.hashes[stream.Category] == "" || i.version == i.snapshotted || i.version-i.snapshotted < s.every && !worth {
		return
	}
	if len(s.queue) == cap(s.queue) {
		s.metrics.snapshotsWritten.WithLabelValues("dropped").Inc()
		return
	}
	job := snapshotJob{stream, i.state, snapshot{
		Revision: i.revision, EventID: i.eventID, Version: i.version, Time: i.time.UTC(),
		Schema: s.hashes[stream.Category], Commands: make([]remembered, len(i.order)),
	}}
	for k, id := range i.order {
		c := i.seen[id]
		job.snapshot.Commands[k] = remembered{id, c.hash, c.revision, c.version, c.events}
	}
	select {
	case s.queue <- job:
		i.snapshotted = i.version
	default:
		s.metrics.snapshotsWritten.WithLabelValues("dropped").Inc()
	}
}

// run writes what is offered until the context ends.
func (s *snapshots) run(ctx context.Context) {
	for {
		select {
		case job := <-s.queue:
			s.write(ctx, job)
		case <-ctx.Done():
			return
		}
	}
}

// write stores one snapshot. One that cannot be stored is only counted: the log holds the truth.
func (s *snapshots) write(ctx context.Context, job snapshotJob) {
	ctx, cancel := context.WithTimeout(ctx, snapshotWrite)
	defer cancel()
	data, err := seal(job.snapshot, job.state)
	if err == nil {
		err = s.store.Save(ctx, job.stream, data)
	}
	if err != nil {
		s.metrics.snapshotsWritten.WithLabelValues("failed").Inc()
		return
	}
	s.metrics.snapshotsWritten.WithLabelValues("written").Inc()
}

func seal(snap snapshot, state es.Folded) (data []byte, err error) {
	defer recovered(&err)
	if snap.State, err = json.Marshal(state.State()); err != nil {
		return nil, err
	}
	body, err := json.Marshal(snap)
	if err != nil {
		return nil, err
	}
	// As encoding/json writes sealed, without reading all of it again.
	return slices.Concat([]byte(`{"checksum":"`+checksum(body)+`","snapshot":`), body, []byte("}")), nil
}

// What becomes of a snapshot at a load; also the label of its counter.
const (
	snapshotUsed        = "used"
	snapshotAbsent      = "none"
	snapshotUnavailable = "unavailable" // the store did not answer
	snapshotUnreadable  = "unreadable"  // no JSON of ours
	snapshotDamaged     = "checksum"    // its bytes are not those that were written
	snapshotOtherSchema = "schema"      // of another Go type, or of another StateVersion
	snapshotOtherState  = "state"       // its state does not decode
	snapshotOtherLog    = "log"         // the log has another event there, or none: it lost its tail, or never had it
)

// restore makes an aggregate from its snapshot and what follows it; nil: none fits. lied says that there was one all
// the same, worth replacing. The error is the log's.
func (s *snapshots) restore(ctx context.Context, log es.Log, a es.Aggregate, stream es.Stream, mayLag bool) (i *instance, lied bool, err error) {
	if s == nil || s.hashes[stream.Category] == "" {
		return nil, false, nil
	}
	i, result, err := s.fit(ctx, log, a, stream, mayLag)
	if err != nil {
		return nil, false, err
	}
	s.metrics.snapshotsRead.WithLabelValues(result).Inc()
	return i, result != snapshotUsed && result != snapshotAbsent && result != snapshotUnavailable, nil
}

func (s *snapshots) fit(ctx context.Context, log es.Log, a es.Aggregate, stream es.Stream, mayLag bool) (*instance, string, error) {
	wait, cancel := context.WithTimeout(ctx, snapshotWait)
	data, err := s.store.Load(wait, stream)
	cancel()
	switch {
	case err != nil:
		return nil, snapshotUnavailable, nil //nolint:nilerr // the whole history is read instead, and the reason counted
	case data == nil:
		return nil, snapshotAbsent, nil
	}
	snap, result := open(data)
	if result != "" {
		return nil, result, nil
	}
	if snap.Schema != s.hashes[stream.Category] {
		return nil, snapshotOtherSchema, nil
	}
	i, err := snap.instance(a)
	if err != nil {
		return nil, snapshotOtherState, nil //nolint:nilerr // as above
	}
	tail, err := log.Load(ctx, stream, es.Range{After: snap.Revision, MayLag: mayLag})
	if errors.Is(err, es.ErrPermanent) {
		return nil, snapshotOtherLog, nil // the whole history tells whether it is the log that is broken
	}
	if err != nil {
		return nil, "", fmt.Errorf("load %s: %w", stream, err)
	}
	if on := tail.Before; on.ID != snap.EventID || on.Version != snap.Version || !on.Time.Equal(snap.Time) {
		return nil, snapshotOtherLog, nil
	}
	return i, snapshotUsed, i.add(tail.Events)
}

// open reads a stored snapshot; why is not empty when it cannot be.
func open(data []byte) (snap snapshot, why string) {
	var outer sealed
	if err := json.Unmarshal(data, &outer); err != nil {
		return snap, snapshotUnreadable
	}
	if checksum(outer.Snapshot) != outer.Checksum {
		return snap, snapshotDamaged
	}
	if err := json.Unmarshal(outer.Snapshot, &snap); err != nil || snap.Revision == 0 || snap.EventID == "" {
		return snap, snapshotUnreadable
	}
	return snap, ""
}

func (snap snapshot) instance(a es.Aggregate) (i *instance, err error) {
	defer recovered(&err)
	state, err := a.Restore(snap.State)
	if err != nil {
		return nil, err
	}
	commands := snap.Commands[max(0, len(snap.Commands)-rememberedCommands):]
	i = &instance{
		state: state, revision: snap.Revision, version: snap.Version, eventID: snap.EventID, time: snap.Time, snapshotted: snap.Version,
		seen: make(map[string]commit, len(commands)), order: make([]string, len(commands)),
	}
	for k, c := range commands {
		i.order[k] = c.ID
		i.seen[c.ID] = commit{c.Hash, c.Revision, c.Version, c.Events}
	}
	return i, nil
}

func checksum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// stateHash identifies what a state looks like, and how it is computed as far as its StateVersion says so. The error
// says why the state cannot be kept as JSON.
func stateHash(a es.Aggregate) (string, error) {
	t := a.StateType()
	look, err := schema.Of(t)
	if err != nil {
		return "", err
	}
	if err := survivesJSON(t, t.Name()); err != nil {
		return "", err
	}
	version := 0
	if v, ok := reflect.Zero(t).Interface().(interface{ StateVersion() int }); ok {
		version = v.StateVersion()
	}
	return checksum(fmt.Appendf(nil, "%d %s", version, look))[:32], nil
}

var (
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// survivesJSON says which part of a type, that does not contain itself, would be lost in JSON.
func survivesJSON(t reflect.Type, at string) error {
	p := reflect.PointerTo(t)
	if p.Implements(jsonMarshaler) && p.Implements(jsonUnmarshaler) || p.Implements(textMarshaler) && p.Implements(textUnmarshaler) {
		return nil
	}
	for _, half := range []reflect.Type{jsonMarshaler, jsonUnmarshaler, textMarshaler, textUnmarshaler} {
		if p.Implements(half) {
			return fmt.Errorf("%s is a %s, which makes its own JSON in one direction only: give it the method for the other", at, t)
		}
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return survivesJSON(t.Elem(), at)
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %s, which does not come back from JSON", at, t)
	case reflect.Struct:
		for k := range t.NumField() {
			f := t.Field(k)
			name := at + "." + f.Name
			if !f.IsExported() && !f.Anonymous || f.Tag.Get("json") == "-" {
				return fmt.Errorf("%s is not in its JSON: export it", name)
			}
			if err := survivesJSON(f.Type, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// startSnapshots has the executor use snapshots, and a worker write them.
func (e *Engine) startSnapshots() {
	if e.cfg.SnapshotEvery < 0 {
		return
	}
	s := newSnapshots(natsstore.NewSnapshots(e.conn), e.schemas, uint64(e.cfg.SnapshotEvery), e.metrics)
	e.executor.snapshots = s
	e.background.Go(func() { s.run(e.stopped) })
}
