// Package natsstore keeps the event log on NATS JetStream: the streams and their configuration, appending and
// loading, the wire format of a commit, and the embedded server.
package natsstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// The streams. Their names and subjects are durable: changing one loses what it holds.
const (
	EventsStream      = "EVENTS"      // events.<category>.<id>: the log, the source of truth
	CommandsStream    = "COMMANDS"    // commands.<category>.<id>.<CommandType>: the queue
	OutcomesStream    = "OUTCOMES"    // outcomes.<category>.<id>.<commandId>: replies to queued commands
	SagasStream       = "SAGAS"       // sagas.<saga>.<key>: one message per transition
	TimersStream      = "TIMERS"      // timers.> schedules, due.> what they fire
	SnapshotsStream   = "SNAPSHOTS"   // snapshots.<category>.<id>: the last state
	DeadLettersStream = "DEADLETTERS" // deadletters.<consumer>.<key>.<id>: what was put aside and is still open
	OperationsStream  = "OPERATIONS"  // operations.<what>.<on>: what operators did
	KeysStream        = "KV_keys"     // $KV.keys.<id>: API keys, without their secrets
	RegistryStream    = "KV_registry" // $KV.registry.schemas: what the log is written with; `nats kv get registry schemas`
)

// KeysBucket is KeysStream as a key-value bucket.
const KeysBucket = "keys"

// KeySubject is where an API key is stored.
func KeySubject(id string) string { return "$KV." + KeysBucket + "." + id }

// minServer is the oldest server that holds what the streams promise.
var minServer = [3]int{2, 14, 4}

// stream is one stream as SetUp wants it. Fields named in free may differ: an operator tunes them without breaking
// a promise.
type stream struct {
	config jetstream.StreamConfig
	free   []string
}

// streams returns the configuration of every stream. What a client can publish to (COMMANDS) allows none of the
// headers that act on other messages: no rollup, TTL, schedule or batch.
func streams() []stream {
	limits := []string{"MaxAge", "MaxBytes", "MaxMsgs", "MaxMsgsPerSubject"}
	all := []stream{
		{config: jetstream.StreamConfig{
			Name:        EventsStream,
			Description: "The event log: one message is one commit, one subject is one aggregate",
			Subjects:    []string{"events.*.*"},
			// No Nats-Msg-Id is ever used here (the guard on the subject decides what has already happened), so
			// the server's duplicate table is as short as it may be.
			Duplicates:         100 * time.Millisecond,
			DenyDelete:         true,
			DenyPurge:          true,
			AllowDirect:        true, // histories are read in batches, then compared with the leader
			AllowAtomicPublish: true,
		}},
		{config: jetstream.StreamConfig{
			Name:        CommandsStream,
			Description: "Commands of those who do not wait for the answer",
			Subjects:    []string{"commands.*.*.*"},
			// A work queue: an acknowledged command is done and gone, so the stream's length is the backlog; and
			// the server refuses a second consumer of the same commands.
			Retention: jetstream.WorkQueuePolicy,
			// A command's id is unique within its aggregate, where the aggregate's own history remembers it. The
			// server would swallow the second of two commands with one id to two aggregates, though it was
			// acknowledged: its window is as short as it may be.
			Duplicates: 100 * time.Millisecond,
		}},
		{config: jetstream.StreamConfig{
			Name:              OutcomesStream,
			Description:       "What became of queued commands, for a day",
			Subjects:          []string{"outcomes.*.*.*"},
			MaxAge:            24 * time.Hour,
			MaxMsgsPerSubject: 1,
			AllowDirect:       true,
		}, free: limits},
		{config: jetstream.StreamConfig{
			Name:        SagasStream,
			Description: "Saga transitions: the last one is the state, the whole is the audit trail",
			Subjects:    []string{"sagas.*.*"},
			DenyDelete:  true,
			DenyPurge:   true,
			// Without AllowDirect the client reads the last transition from the leader, never from a replica
			// that lags: a stale state would send effects twice.
		}},
		{config: jetstream.StreamConfig{
			Name:              TimersStream,
			Description:       "Schedules that wake sagas, and what they fire",
			Subjects:          []string{"timers.>", "due.>"},
			AllowMsgSchedules: true,
			AllowMsgTTL:       true, // due messages that nobody needed any more go away
			AllowRollup:       true, // comes with schedules: a timer set again replaces the old one
		}},
		{config: jetstream.StreamConfig{
			Name:              SnapshotsStream,
			Description:       "The last state of an aggregate; one that does not fit is ignored",
			Subjects:          []string{"snapshots.*.*"},
			MaxMsgsPerSubject: 1,
			AllowDirect:       true, // a stale snapshot only means a longer tail
		}, free: append(slices.Clone(limits), "Storage")},
		{config: jetstream.StreamConfig{
			Name:        DeadLettersStream,
			Description: "Messages that could not be handled, with the reason",
			Subjects:    []string{"deadletters.*.*.*"},
			// One message a letter: a retry that fails replaces it, and letters are read from the leader, never
			// from a replica that lags (no AllowDirect).
			MaxMsgsPerSubject: 1,
		}, free: []string{"MaxAge", "MaxBytes", "MaxMsgs"}},
		{config: jetstream.StreamConfig{
			Name:        OperationsStream,
			Description: "What operators did: who, when, what, why",
			Subjects:    []string{"operations.*.*"},
			DenyDelete:  true,
			DenyPurge:   true,
		}},
		{config: jetstream.StreamConfig{
			Name:              KeysStream,
			Description:       "API keys: who they stand for, what they may, and the hashes of their secrets",
			Subjects:          []string{KeySubject(">")},
			MaxMsgsPerSubject: 1,
			DenyDelete:        true,
			AllowRollup:       true,
			Discard:           jetstream.DiscardNew,
			// Read from the leader, as the registry is: a replica that lags would still know a revoked key as good.
		}, free: limits},
		{config: jetstream.StreamConfig{
			Name:              RegistryStream,
			Description:       "Every event and command that the log is written with, as JSON Schemas",
			Subjects:          []string{"$KV.registry.>"},
			MaxMsgsPerSubject: 64, // earlier registries, for nats kv history
			DenyDelete:        true,
			AllowRollup:       true,
			Discard:           jetstream.DiscardNew,
			// A key-value bucket but for AllowDirect: without it the client reads from the leader, never from a
			// replica that lags and would let a program in that is too old.
		}, free: limits},
	}
	for i := range all {
		c := &all[i].config
		c.Storage = jetstream.FileStorage
		c.MaxMsgs, c.MaxBytes = -1, -1
		if c.MaxMsgsPerSubject == 0 {
			c.MaxMsgsPerSubject = -1
		}
	}
	return all
}

// SetUp creates the streams that are missing, each with the given number of replicas. An existing stream is left as
// it is when it keeps every promise, whatever else differs; its replicas are raised when there are fewer, never
// lowered. Permanent errors: streams that would break a promise, all of them named with field, expected and found;
// a server that is too old.
func SetUp(ctx context.Context, js jetstream.JetStream, replicas int) error {
	if err := checkServer(js.Conn().ConnectedServerVersion()); err != nil {
		return err
	}
	var errs []error
	for _, s := range streams() {
		s.config.Replicas = replicas
		err := s.setUp(ctx, js)
		var pause backoff
		for end := time.Now().Add(readTimeout); errors.Is(err, errNoPeers) && time.Now().Before(end) && pause.wait(ctx) == nil; {
			err = s.setUp(ctx, js)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s stream) setUp(ctx context.Context, js jetstream.JetStream) error {
	var info *jetstream.StreamInfo
	existing, err := js.Stream(ctx, s.config.Name)
	switch {
	case err == nil:
		info = existing.CachedInfo()
	case errors.Is(err, jetstream.ErrStreamNotFound):
		created, err := js.CreateStream(ctx, s.config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return s.setUp(ctx, js) // another process was quicker; compare with what it made
		}
		if err != nil {
			return s.failed("create", err)
		}
		info = created.CachedInfo()
	default:
		return s.failed("look up", err)
	}
	if err := s.check(info.Config); err != nil {
		return err
	}
	if info.Config.Replicas < s.config.Replicas {
		raised := info.Config
		raised.Replicas = s.config.Replicas
		if _, err := js.UpdateStream(ctx, raised); err != nil {
			return s.failed(fmt.Sprintf("raise the replicas from %d to %d of", info.Config.Replicas, raised.Replicas), err)
		}
	}
	return nil
}

func (s stream) failed(doing string, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return fmt.Errorf("%s stream %s: %w", doing, s.config.Name, classify(api.Code, int(api.ErrorCode), api.Description))
	}
	return fmt.Errorf("%s stream %s: %w", doing, s.config.Name, es.Transient(err))
}

// check compares what a promise rests on. Description, metadata, compression, placement, duplicate window,
// republishing and limits on consumers are the operator's.
func (s stream) check(found jetstream.StreamConfig) error {
	var errs []error
	want := fields(s.config)
	for i, f := range fields(found) {
		if f.value != want[i].value && !slices.Contains(s.free, f.name) {
			errs = append(errs, es.Permanent(fmt.Errorf("stream %[1]s would break a promise: %s must be %s, found %s; change it (nats stream edit %[1]s) or use another account",
				s.config.Name, f.name, want[i].value, f.value)))
		}
	}
	return errors.Join(errs...)
}

type field struct{ name, value string }

// fields spells out what a promise rests on, the server's several ways of writing "none" brought to one.
func fields(c jetstream.StreamConfig) []field {
	atLeastNone := func(n int64) string {
		if n <= 0 {
			return "none"
		}
		return fmt.Sprint(n)
	}
	subjects := slices.Sorted(slices.Values(c.Subjects))
	return []field{
		{"Subjects", strings.Join(subjects, " ")},
		{"Retention", c.Retention.String()},
		{"Storage", c.Storage.String()},
		{"MaxMsgs", atLeastNone(c.MaxMsgs)},
		{"MaxBytes", atLeastNone(c.MaxBytes)},
		{"MaxAge", c.MaxAge.String()},
		{"MaxMsgsPerSubject", atLeastNone(c.MaxMsgsPerSubject)},
		{"MaxMsgSize", atLeastNone(int64(c.MaxMsgSize))},
		{"FirstSeq", fmt.Sprint(max(c.FirstSeq, 1))},
		{"NoAck", fmt.Sprint(c.NoAck)},
		{"Sealed", fmt.Sprint(c.Sealed)},
		{"PersistMode", c.PersistMode.String()},
		{"DenyDelete", fmt.Sprint(c.DenyDelete)},
		{"DenyPurge", fmt.Sprint(c.DenyPurge)},
		{"AllowDirect", fmt.Sprint(c.AllowDirect)},
		{"AllowRollup", fmt.Sprint(c.AllowRollup)},
		{"AllowMsgTTL", fmt.Sprint(c.AllowMsgTTL)},
		{"SubjectDeleteMarkerTTL", c.SubjectDeleteMarkerTTL.String()},
		{"AllowMsgSchedules", fmt.Sprint(c.AllowMsgSchedules)},
		{"AllowMsgCounter", fmt.Sprint(c.AllowMsgCounter)},
		{"AllowAtomicPublish", fmt.Sprint(c.AllowAtomicPublish)},
		{"AllowBatchPublish", fmt.Sprint(c.AllowBatchPublish)},
		{"SubjectTransform", fmt.Sprint(c.SubjectTransform != nil)},
		{"Mirror", fmt.Sprint(c.Mirror != nil)},
		{"Sources", fmt.Sprint(len(c.Sources))},
	}
}

func checkServer(version string) error {
	var v [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2]); err != nil {
		return es.Permanent(fmt.Errorf("the NATS server calls its version %q, which cannot be read: %w", version, err))
	}
	if slices.Compare(v[:], minServer[:]) < 0 {
		return es.Permanent(fmt.Errorf("the NATS server has version %s: Millstream needs %d.%d.%d or newer", version, minServer[0], minServer[1], minServer[2]))
	}
	return nil
}
