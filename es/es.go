// Package es is Millstream's engine as a vocabulary: events, commands, streams, aggregates, sagas, gateways,
// projectors, queries and errors. It imports the standard library only; what moves these values over NATS, into
// SQLite or out of HTTP lives in the packages below it.
package es

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Event is a fact. Its EventType is its name on the wire: written once, on the type, and never changed.
type Event interface{ EventType() string }

// Command is a wish. Its CommandType is its name on the wire and the last token of its subject.
type Command interface{ CommandType() string }

// Stream names one aggregate's history, which is one consistency boundary.
type Stream struct{ Category, ID string }

// String returns "category/id".
func (s Stream) String() string { return s.Category + "/" + s.ID }

// Validate refuses what cannot be a subject token: category and id must match [A-Za-z0-9_-]{1,64}.
func (s Stream) Validate() error {
	if !ValidID(s.Category) {
		return &InvalidError{Code: "bad_id", Message: fmt.Sprintf("category %q must match [A-Za-z0-9_-]{1,64}", clip(s.Category))}
	}
	if !ValidID(s.ID) {
		return &InvalidError{Code: "bad_id", Message: fmt.Sprintf("id %q must match [A-Za-z0-9_-]{1,64}", clip(s.ID))}
	}
	return nil
}

// ParseStream reads "category/id".
func ParseStream(text string) (Stream, error) {
	category, id, ok := strings.Cut(text, "/")
	if !ok {
		return Stream{}, &InvalidError{Code: "bad_id", Message: fmt.Sprintf("stream %q must be written category/id, like order/o-1", clip(text))}
	}
	s := Stream{category, id}
	return s, s.Validate()
}

// MaxIDLength is the longest id, in bytes.
const MaxIDLength = 64

// EnginePrefix begins every id that the engine makes. Doors refuse it from clients.
const EnginePrefix = "ms-"

// ValidID reports whether id matches [A-Za-z0-9_-]{1,64}, the only ids that may stand in a subject.
func ValidID(id string) bool {
	if len(id) == 0 || len(id) > MaxIDLength {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

func clip(s string) string {
	if len(s) > MaxIDLength {
		return s[:MaxIDLength] + "…"
	}
	return s
}

// Revision is a commit's sequence in the log, the only clock: Append expects it, projectors checkpoint it, queries
// wait for it and temporal queries stop at it. Zero is before the first commit.
type Revision uint64

// Meta is the context of a command, stamped at the door; its events carry it on. The domain has no clock: Time is it.
type Meta struct {
	Stream      Stream
	CommandID   string
	User        string
	Correlation string
	Causation   string
	Traceparent string
	RequestHash string // of the command's type and body; tells a repeated command from another with the same id
	Time        time.Time
}

// Recorded is an event as it stands in the log.
type Recorded struct {
	Event
	Meta
	ID       string   // "<command id>/<n>", n counting from 1 within the commit
	Version  uint64   // 1, 2, 3 … within the stream
	Revision Revision // of its commit; events of one commit share it
}

// Commit is what one command decided on one aggregate; it is stored whole or not at all.
type Commit struct {
	Stream   Stream
	Expected Revision   // of the stream's last commit when the decision was taken; 0: the stream was empty
	Events   []Recorded // Revision still zero; versions follow on those of Expected
}

// ValidateTogether reports why commits cannot be stored together. Permanent errors: there are none, two are of one
// stream, or they are of several commands or times, which as-of reads would tear apart.
func ValidateTogether(commits []Commit) error {
	if len(commits) == 0 {
		return Permanent(errors.New("there is no commit to store"))
	}
	var first Recorded
	seen := map[Stream]bool{}
	for _, c := range commits {
		if seen[c.Stream] {
			return Permanent(fmt.Errorf("two commits of %s cannot be stored together: put their events into one", c.Stream))
		}
		seen[c.Stream] = true
		for _, e := range c.Events {
			if first.CommandID == "" {
				first = e
			}
			if e.CommandID != first.CommandID || !e.Time.Equal(first.Time) {
				return Permanent(fmt.Errorf("commits stored together must be of one command at one time: found %s at %s beside %s at %s",
					e.CommandID, e.Time, first.CommandID, first.Time))
			}
		}
	}
	return nil
}

// History is what Load read of one stream.
type History struct {
	Events   []Recorded
	Revision Revision // of the last commit read; 0: nothing was there
	Before   Recorded // the last event of the commit at Range.After; zero when the stream has no commit there
}

// Range narrows a Load. The zero value is the whole history. Commits that were stored together (Log.AppendAll) are
// read together: what begins up to UpTo is read to its end, so that no reader, of one stream or of all, sees half.
type Range struct {
	After Revision  // only commits after this one; who has a state of that revision compares it with History.Before
	UpTo  Revision  // only commits up to this one; 0: no bound
	AsOf  time.Time // stops before the first event whose Meta.Time is later; zero: no bound

	// MayLag spares asking the leader: the newest commits may be missing, as they may be from a state that was loaded
	// a moment ago. It is for who appends next, which the guard refuses then, or asks for Last.
	MayLag bool
}

// Log is the event log as the engine needs it. Both implementations pass the conformance suite in es/estest.
type Log interface {
	// Append stores a commit. ErrConflict: the stream's last revision is not the expected one, nothing was stored.
	// ErrUnknownOutcome: no answer came, the commit may be stored; reload and look for its command id.
	Append(ctx context.Context, c Commit) (Revision, error)
	// AppendAll stores what one command decided on several streams, all or nothing, each commit with its own guard.
	// The commits' revisions follow on one another in the order given; the last is returned. Errors as those of
	// Append (ErrConflict: at least one stream has moved on, nothing was stored), those of ValidateTogether, and
	// InvalidError not_atomic: where this log runs, a power cut could keep half.
	AppendAll(ctx context.Context, commits ...Commit) (Revision, error)
	// Load reads a stream's history, whole or not at all, and at least as new as the stream's leader was when
	// Load began, unless it MayLag. An unknown stream is an empty History.
	Load(ctx context.Context, s Stream, r Range) (History, error)
	// Last returns the revision of the stream's last commit as its leader knows it; 0: none.
	Last(ctx context.Context, s Stream) (Revision, error)
}

// Domain is the lists that make a system: what cmd hands to the doors.
type Domain struct {
	Name       string // of the NATS service and the binary
	Events     []EventDef
	Aggregates []Aggregate
	Sagas      []Saga
	Gateways   []Gateway
	Projectors []Projector
	Queries    []QueryDef
}

// Validate reports every fault of the lists at once: double names, commands without an aggregate's category,
// sagas or projectors that do not say what they do with an event.
func (d Domain) Validate() error {
	var errs []error
	unique := func(kind string) func(string) {
		seen := map[string]bool{}
		return func(name string) {
			if !ValidID(name) {
				errs = append(errs, fmt.Errorf("%s name %q must match [A-Za-z0-9_-]{1,64}", kind, name))
			}
			if seen[name] {
				errs = append(errs, fmt.Errorf("%s %q is listed twice", kind, name))
			}
			seen[name] = true
		}
	}
	known := map[string]bool{}
	event := unique("event")
	for _, e := range d.Events {
		event(e.Type)
		known[e.Type] = true
	}
	category, collection := unique("aggregate"), unique("collection")
	for _, a := range d.Aggregates {
		category(a.Category())
		collection(a.Collection())
		command := unique("command of " + a.Category())
		for _, c := range a.Commands() {
			command(c.Type)
		}
	}
	projector := unique("projector")
	projectors := map[string]bool{}
	for _, p := range d.Projectors {
		projector(p.Name)
		projectors[p.Name] = true
		errs = append(errs, p.Interest.check("projector "+p.Name, known))
	}
	saga := unique("saga")
	for _, s := range d.Sagas {
		saga(s.Name())
		errs = append(errs, s.Interest().check("saga "+s.Name(), known))
	}
	gateway := unique("gateway")
	for _, g := range d.Gateways {
		gateway(g.Name)
		errs = append(errs, g.Interest.check("gateway "+g.Name, known))
	}
	query := unique("query")
	for _, q := range d.Queries {
		query(q.QueryName())
		if p := q.ProjectorName(); !projectors[p] {
			errs = append(errs, fmt.Errorf("query %q asks projector %q, which is not listed", q.QueryName(), p))
		}
	}
	return errors.Join(errs...)
}
