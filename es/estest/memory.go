package estest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// Log is an es.Log in memory. Events are kept as JSON, so that what does not survive it shows. It is safe for
// concurrent use.
type Log struct {
	codec *schema.Registry

	mu      sync.Mutex
	commits []stored // the whole log; the commit at revision r is commits[r-1]
	streams map[es.Stream][]es.Revision
}

type stored struct {
	begin    es.Revision // of the first commit that was stored together with this one
	revision es.Revision
	events   []encoded
}

type encoded struct {
	typ      string
	version  int // of the event type
	data     []byte
	recorded es.Recorded // without its event
}

// NewLog makes an empty log.
func NewLog(codec *schema.Registry) *Log {
	return &Log{codec: codec, streams: map[es.Stream][]es.Revision{}}
}

// Append stores a commit, see es.Log.
func (l *Log) Append(ctx context.Context, c es.Commit) (es.Revision, error) {
	return l.append(ctx, []es.Commit{c})
}

// AppendAll stores commits together, see es.Log.
func (l *Log) AppendAll(ctx context.Context, commits ...es.Commit) (es.Revision, error) {
	if err := es.ValidateTogether(commits); err != nil {
		return 0, err
	}
	return l.append(ctx, commits)
}

func (l *Log) append(ctx context.Context, commits []es.Commit) (es.Revision, error) {
	batch := make([]stored, len(commits))
	for i, c := range commits {
		if err := check(ctx, c.Stream); err != nil {
			return 0, err
		}
		events, err := l.encode(c)
		if err != nil {
			return 0, err
		}
		batch[i].events = events
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	begin := es.Revision(len(l.commits) + 1)
	for i, c := range commits {
		if last := l.last(c.Stream); last != c.Expected {
			return 0, fmt.Errorf("%w: %s is at revision %d, expected %d", es.ErrConflict, c.Stream, last, c.Expected)
		}
		version := uint64(0)
		if c.Expected > 0 {
			before := l.commits[c.Expected-1].events
			version = before[len(before)-1].recorded.Version
		}
		batch[i].begin, batch[i].revision = begin, begin+es.Revision(i)
		for k := range batch[i].events {
			r := &batch[i].events[k].recorded
			if version++; r.Version != version {
				return 0, es.Permanent(fmt.Errorf("commit on %s: event %d has version %d, expected %d", c.Stream, k+1, r.Version, version))
			}
			r.Revision = batch[i].revision
		}
	}
	for i, c := range commits {
		l.commits = append(l.commits, batch[i])
		l.streams[c.Stream] = append(l.streams[c.Stream], batch[i].revision)
	}
	return es.Revision(len(l.commits)), nil
}

func (l *Log) encode(c es.Commit) ([]encoded, error) {
	if len(c.Events) == 0 {
		return nil, es.Permanent(fmt.Errorf("commit on %s has no events", c.Stream))
	}
	events := make([]encoded, len(c.Events))
	for i, r := range c.Events {
		if r.Stream != c.Stream {
			return nil, es.Permanent(fmt.Errorf("commit on %s holds an event of %s", c.Stream, r.Stream))
		}
		data, version, err := l.codec.EncodeEvent(r.Event)
		if err != nil {
			return nil, err
		}
		e := encoded{typ: r.EventType(), version: version, data: data, recorded: r}
		e.recorded.Event = nil
		events[i] = e
	}
	return events, nil
}

// Load reads a stream's history, see es.Log.
func (l *Log) Load(ctx context.Context, s es.Stream, r es.Range) (es.History, error) {
	if err := check(ctx, s); err != nil {
		return es.History{}, err
	}
	var h es.History
	for _, commit := range l.read(s) {
		if commit.revision == r.After {
			events, err := l.decode(commit)
			if err != nil {
				return es.History{}, err
			}
			h.Before = events[len(events)-1]
		}
		if commit.revision <= r.After {
			continue
		}
		if r.UpTo > 0 && commit.begin > r.UpTo || !r.AsOf.IsZero() && commit.events[0].recorded.Time.After(r.AsOf) {
			break
		}
		events, err := l.decode(commit)
		if err != nil {
			return es.History{}, err
		}
		h.Events = append(h.Events, events...)
		h.Revision = commit.revision
	}
	return h, nil
}

// Last returns the revision of a stream's last commit, see es.Log.
func (l *Log) Last(ctx context.Context, s es.Stream) (es.Revision, error) {
	if err := check(ctx, s); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last(s), nil
}

// All reads the commits of all streams after a revision, in the order of the log.
func (l *Log) All(after es.Revision) ([]es.Recorded, error) {
	l.mu.Lock()
	commits := slices.Clone(l.commits[min(int(after), len(l.commits)):])
	l.mu.Unlock()
	var all []es.Recorded
	for _, commit := range commits {
		events, err := l.decode(commit)
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	return all, nil
}

func (l *Log) last(s es.Stream) es.Revision {
	revisions := l.streams[s]
	if len(revisions) == 0 {
		return 0
	}
	return revisions[len(revisions)-1]
}

func (l *Log) read(s es.Stream) []stored {
	l.mu.Lock()
	defer l.mu.Unlock()
	var commits []stored
	for _, revision := range l.streams[s] {
		commits = append(commits, l.commits[revision-1])
	}
	return commits
}

func (l *Log) decode(commit stored) ([]es.Recorded, error) {
	events := make([]es.Recorded, len(commit.events))
	for i, e := range commit.events {
		event, err := l.codec.DecodeEvent(e.typ, e.version, e.data)
		if err != nil {
			return nil, err
		}
		events[i] = e.recorded
		events[i].Event = event
	}
	return events, nil
}

func check(ctx context.Context, s es.Stream) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return es.Transient(ctx.Err())
}
