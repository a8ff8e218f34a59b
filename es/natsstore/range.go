package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// A page of a range is small: one is in memory for every reader at once, for as long as its reader takes.
const (
	rangeMessages = 128
	rangeBytes    = 128 << 10
	maxRanges     = 4 // pages under way: readers of ranges never crowd out those who load an aggregate
)

// Range calls f with every commit of a part of the log after one revision and up to another, in order. A part is one
// aggregate, with an empty ID a category, and with neither the whole log. It holds one small page and nothing on the
// server, so f may take its time. Any replica answers; what it cannot prove is read from the leader. ErrCorrupt: a
// commit is missing. What f returns ends it.
func (l *Log) Range(ctx context.Context, part es.Stream, after, upTo es.Revision, f func(Stored) error) error {
	filter, err := filterOf(part)
	if err != nil {
		return err
	}
	if after >= upTo {
		return nil
	}
	newest, err := l.get(ctx, request{LastFor: filter})
	if err != nil || newest == nil {
		return err
	}
	r := &ranging{log: l, filter: filter, whole: part == es.Stream{}, at: uint64(after), upTo: uint64(upTo), f: f}
	// What comes at or after this sequence proves that a replica has all before it.
	for proof := min(newest.seq, r.upTo); r.at < proof && !r.past; {
		found, err := r.page(ctx)
		if err == nil && !found {
			err = r.fromLeader(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// filterOf is the subject filter of a part of the log.
func filterOf(part es.Stream) (string, error) {
	switch {
	case part == es.Stream{}:
		return eventsPrefix + "*.*", nil
	case part.ID == "":
		return eventsPrefix + part.Category + ".*", (es.Stream{Category: part.Category, ID: "x"}).Validate()
	}
	return Subject(part), part.Validate()
}

// covers reports whether a filter of filterOf lets a subject of the log through.
func covers(filter, subject string) bool {
	if filter == subject || filter == eventsPrefix+"*.*" {
		return true
	}
	prefix, wild := strings.CutSuffix(filter, "*")
	return wild && strings.HasPrefix(subject, prefix)
}

// ranging is a range being read.
type ranging struct {
	log      *Log
	filter   string
	whole    bool // sequences must be without a gap
	at, upTo uint64
	past     bool // a commit behind the range was seen
	f        func(Stored) error
}

// page reads a page from whichever replica answers. found is false when it has nothing to show.
func (r *ranging) page(ctx context.Context) (found bool, err error) {
	messages, err := r.log.rangePage(ctx, r.filter, r.at+1)
	if errors.Is(err, es.ErrTransient) && ctx.Err() == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	commits, _, unproven := verify(r.filter, r.at, messages)
	if errors.Is(unproven, es.ErrPermanent) {
		return false, unproven
	}
	for _, c := range commits {
		if r.whole && c.seq != r.at+1 {
			return found, nil // a hole, which the leader must explain
		}
		if err := r.take(c); err != nil || r.past {
			return true, err
		}
		found = true
	}
	return found, nil
}

func (r *ranging) fromLeader(ctx context.Context) error {
	c, err := r.log.get(ctx, request{Seq: r.at + 1, NextFor: r.filter})
	if err != nil {
		return err
	}
	if c == nil || r.whole && c.seq != r.at+1 {
		return fmt.Errorf("%w: also by the leader, %s has no commit at revision %d, though there are later ones; restore it from a replica or a backup",
			es.ErrCorrupt, r.filter, r.at+1)
	}
	return r.take(*c)
}

func (r *ranging) take(c stored) error {
	if r.past = c.seq > r.upTo; r.past {
		return nil
	}
	r.at = c.seq
	return r.f(Stored{c.Subject, c.Header, c.Data, es.Revision(c.seq)})
}

func (l *Log) rangePage(ctx context.Context, filter string, from uint64) ([]*nats.Msg, error) {
	body, err := json.Marshal(request{Seq: from, NextFor: filter, Batch: rangeMessages, MaxBytes: rangeBytes})
	if err != nil {
		return nil, es.Permanent(err)
	}
	p, err := l.askIn(ctx, l.ranges, body, from)
	if err != nil {
		return nil, err
	}
	return p.wait(ctx)
}
