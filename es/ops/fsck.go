package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

// FsckConfig is what Fsck needs. Verify compares the read models of one projector with ones built anew from the log; it
// returns what differs, by the place where the model is, and how many it has looked at.
type FsckConfig struct {
	Log       *natsstore.Log
	JetStream jetstream.JetStream
	Snapshots *runtime.SnapshotStore
	Domain    es.Domain
	Verify    func(ctx context.Context, projector es.Projector) (differ map[string]string, looked int, err error)
	Progress  func(done, last es.Revision)
}

// FsckReport is what Fsck found.
type FsckReport struct {
	Revision es.Revision `json:"revision"` // of the log's last commit when it began
	Parts    []FsckPart  `json:"parts"`
}

// FsckPart is one kind of thing that was looked at.
type FsckPart struct {
	Name   string      `json:"name"`
	Looked int         `json:"looked"` // how many were
	Note   string      `json:"note,omitempty"`
	Wrong  int         `json:"wrong"`  // how many faults there are
	Faults []FsckFault `json:"faults"` // the first of them
}

// FsckFault is one thing that is wrong, and where.
type FsckFault struct {
	Where string `json:"where"`
	What  string `json:"what"`
}

// mostFaults bounds the faults that are told of one part.
const mostFaults = 100

func (p *FsckPart) fault(where, format string, args ...any) {
	p.Wrong++
	if len(p.Faults) < mostFaults {
		p.Faults = append(p.Faults, FsckFault{where, fmt.Sprintf(format, args...)})
	}
}

// Sound reports whether nothing is wrong.
func (r FsckReport) Sound() bool {
	return !slices.ContainsFunc(r.Parts, func(p FsckPart) bool { return p.Wrong > 0 })
}

// footing is something stored that stands on a commit of the log.
type footing struct {
	who       string
	part      *FsckPart
	eventID   string // "" when only the command is known
	commandID string
}

type fsck struct {
	FsckConfig
	last     es.Revision
	commits  FsckPart
	streams  map[es.Stream]*told
	seed     maphash.Seed
	footings map[es.Revision][]footing
}

// told is what is remembered of one stream while the log is read.
type told struct {
	version  uint64
	commands []uint64 // hashes of the ids of its last commits
}

// remembered is within how many commits of a stream a command id takes effect at most once.
const remembered = 256

// Fsck reads every commit of the log and everything that is kept beside it, and holds each against what must be true:
// revisions and versions without a gap, commits that read, a command id that took effect once, snapshots and sagas
// that stand on events which are there, and read models that equal the fold of the log. The system may be running. What
// is wrong stands in the report; an error means that it could not be found out.
func Fsck(ctx context.Context, c FsckConfig) (FsckReport, error) {
	f := &fsck{FsckConfig: c, commits: FsckPart{Name: "log", Faults: []FsckFault{}}, streams: map[es.Stream]*told{}, seed: maphash.MakeSeed(), footings: map[es.Revision][]footing{}}
	var err error
	snapshots, sagas := FsckPart{Name: "snapshots", Faults: []FsckFault{}}, FsckPart{Name: "sagas", Faults: []FsckFault{}}
	// These are asked before the end of the log is: what they stand on is within it by then.
	if err = f.readSnapshots(ctx, &snapshots); err == nil {
		err = f.readSagas(ctx, &sagas)
	}
	if err == nil {
		f.last, err = c.Log.LastRevision(ctx)
	}
	if err == nil {
		err = f.readLog(ctx)
	}
	if err != nil {
		return FsckReport{}, err
	}
	for revision, footings := range f.footings {
		for _, on := range footings {
			on.part.fault(on.who, "stands on revision %d, and the log goes up to %d: it is ignored or set back at the next start", revision, f.last)
		}
	}
	r := FsckReport{Revision: f.last, Parts: []FsckPart{f.commits, snapshots, sagas}}
	for _, p := range c.Domain.Projectors {
		part := FsckPart{Name: "read model " + p.Name, Faults: []FsckFault{}}
		if f.commits.Wrong > 0 {
			part.Note = "not compared, since the log is not whole"
			r.Parts = append(r.Parts, part)
			continue
		}
		differ, looked, err := c.Verify(ctx, p)
		if err != nil {
			return FsckReport{}, fmt.Errorf("read model %s: %w", p.Name, err)
		}
		part.Looked = looked
		for where, what := range differ {
			part.fault(where, "differs from the fold of the log, which `projections rebuild %s` mends; this against rebuilt: %s", p.Name, strings.ReplaceAll(what, "\n", "; "))
		}
		r.Parts = append(r.Parts, part)
	}
	return r, nil
}

func (f *fsck) readLog(ctx context.Context) error {
	for at := es.Revision(0); at < f.last; {
		err := f.Log.Range(ctx, es.Stream{}, at, f.last, func(c natsstore.Stored) error {
			at = c.Revision
			f.commit(c)
			if f.Progress != nil {
				f.Progress(at, f.last)
			}
			return nil
		})
		switch {
		case errors.Is(err, es.ErrCorrupt):
			at++
			f.commits.fault(fmt.Sprintf("revision %d", at), "is missing: restore it from a replica or a backup")
			delete(f.footings, at)
		case err != nil:
			return err
		case at < f.last:
			return es.Transient(fmt.Errorf("the log was read up to revision %d of %d", at, f.last))
		}
	}
	return nil
}

func (f *fsck) commit(c natsstore.Stored) {
	f.commits.Looked++
	where := fmt.Sprintf("revision %d (%s)", c.Revision, c.Subject)
	events, err := f.Log.Read(c)
	if err != nil {
		f.commits.fault(where, "%v", err)
		return
	}
	if len(events) == 0 {
		f.commits.fault(where, "holds no event")
		return
	}
	stream := events[0].Stream
	if want := natsstore.Subject(stream); want != c.Subject {
		f.commits.fault(where, "holds events of %s, which belong on %s", stream, want)
	}
	known := f.streams[stream]
	if known == nil {
		known = &told{}
		f.streams[stream] = known
	}
	id := events[0].CommandID
	for i, r := range events {
		switch {
		case r.Stream != stream || r.CommandID != id:
			f.commits.fault(where, "mixes %s of %s with %s of %s", id, stream, r.CommandID, r.Stream)
		case r.Version != known.version+1:
			f.commits.fault(where, "%s: version %d follows version %d", stream, r.Version, known.version)
		case r.ID != fmt.Sprintf("%s/%d", id, i+1):
			f.commits.fault(where, "event id %q, expected %s/%d", r.ID, id, i+1)
		}
		known.version = r.Version
	}
	hash := maphash.String(f.seed, id)
	if slices.Contains(known.commands, hash) {
		f.commits.fault(where, "%s: command %s took effect before", stream, id)
	}
	if known.commands = append(known.commands, hash); len(known.commands) > remembered {
		known.commands = slices.Delete(known.commands, 0, 1)
	}
	for _, on := range f.footings[c.Revision] {
		stands := on.commandID == id
		if on.eventID != "" {
			stands = slices.ContainsFunc(events, func(r es.Recorded) bool { return r.ID == on.eventID })
		}
		if !stands {
			on.part.fault(on.who, "stands on revision %d as command %s left it, which is now another commit (%s)", c.Revision, on.commandID, id)
		}
	}
	delete(f.footings, c.Revision)
}

// stand remembers that something stands on a commit.
func (f *fsck) stand(on footing, at es.Revision) {
	if at > 0 {
		on.commandID, _, _ = strings.Cut(on.commandID, "/")
		f.footings[at] = append(f.footings[at], on)
	}
}

func (f *fsck) readSnapshots(ctx context.Context, part *FsckPart) error {
	for cursor := ""; ; {
		page, next, err := f.Snapshots.List(ctx, "", cursor, 500)
		if err != nil {
			return err
		}
		for _, s := range page {
			part.Looked++
			if s.Fault != "" {
				part.fault(s.Stream, "%s: it is ignored; `snapshots drop %s` takes it away", s.Fault, s.Stream)
				continue
			}
			f.stand(footing{s.Stream, part, s.EventID, s.EventID}, s.Revision)
		}
		if cursor = next; cursor == "" {
			return nil
		}
	}
}

func (f *fsck) readSagas(ctx context.Context, part *FsckPart) error {
	log := natsstore.NewSagaLog(f.JetStream)
	for _, saga := range f.Domain.Sagas {
		err := log.Each(ctx, saga.Name(), func(e natsstore.SagaEntry) error {
			part.Looked++
			who := saga.Name() + "/" + e.Key
			var t transition
			if err := json.Unmarshal(e.Data, &t); err != nil {
				part.fault(who, "its newest transition does not read: %v", err)
				return nil
			}
			f.stand(footing{who, part, t.Position.EventID, t.Position.EventID}, t.Position.Revision)
			for _, o := range t.Outcomes {
				if o.Reply.Outcome == es.Accepted {
					f.stand(footing{who: who, part: part, commandID: o.Reply.CommandID}, o.Reply.Revision)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
