package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

// Filter says which events a follower wants. What is set must all hold; the zero value is every event.
type Filter struct {
	Stream      es.Stream // of one aggregate; zero: of any
	Category    string
	Types       []string // one of these
	Correlation string
}

const mostFilterTypes = 100

// Check refuses what can never match, with what was probably meant. Errors: InvalidError.
func (f Filter) Check(schemas *schema.Registry) error {
	if f.Stream != (es.Stream{}) {
		if err := f.Stream.Validate(); err != nil {
			return err
		}
		if f.Category != "" && f.Category != f.Stream.Category {
			return &es.InvalidError{Code: "malformed", Message: fmt.Sprintf("stream %s is not of category %.64q: give one of them", f.Stream, f.Category)}
		}
	}
	if part := f.part(); part.Category != "" {
		if _, err := schemas.Aggregate(part.Category); err != nil {
			return err
		}
	}
	if len(f.Types) > mostFilterTypes {
		return &es.InvalidError{Code: "malformed", Message: fmt.Sprintf("%d types are too many, the most is %d", len(f.Types), mostFilterTypes)}
	}
	var known []string
	for _, e := range schemas.Domain().Events {
		known = append(known, e.Type)
	}
	for _, t := range f.Types {
		if slices.Contains(known, t) {
			continue
		}
		message := fmt.Sprintf("unknown event type %.64q: known are %s", t, strings.Join(known, ", "))
		if near, ok := es.Closest(t, known); ok {
			message = fmt.Sprintf("unknown event type %.64q: did you mean %s?", t, near)
		}
		return &es.InvalidError{Code: "unknown_event", Message: message}
	}
	if !printable(f.Correlation) {
		return &es.InvalidError{Code: "malformed", Message: "a correlation id has at most 128 printable ASCII characters"}
	}
	return nil
}

// part of the log that holds all that matches.
func (f Filter) part() es.Stream {
	if f.Stream != (es.Stream{}) {
		return f.Stream
	}
	return es.Stream{Category: f.Category}
}

// key is what a commit is looked up by: its stream, its category or nothing.
func (f Filter) key() string {
	if f.Stream != (es.Stream{}) {
		return f.Stream.String()
	}
	return f.Category
}

// mayMatch tells without decoding that a commit of the filter's part holds nothing that matches.
func (f Filter) mayMatch(c natsstore.Stored) bool {
	if f.Correlation != "" && !c.MayCorrelate(f.Correlation) {
		return false
	}
	single := c.Header.Get("ce-type")
	return single == "" || len(f.Types) == 0 || slices.Contains(f.Types, single)
}

// read makes the notice of what matches in a commit of the filter's part as it stands in the log; ok is false when
// nothing does.
func (f Filter) read(log *natsstore.Log, c natsstore.Stored) (n Notice, ok bool, err error) {
	if !f.mayMatch(c) {
		return n, false, nil
	}
	commit, err := newFollowed(log, c)
	if err != nil {
		return n, false, err
	}
	n, ok = f.choose(commit)
	return n, ok, nil
}

// choose makes the notice of what matches in a commit of the filter's part; ok is false when nothing does.
func (f Filter) choose(c *followed) (n Notice, ok bool) {
	n = Notice{Events: c.events, Revision: c.revision(), commit: c}
	if len(f.Types) == 0 && f.Correlation == "" {
		return n, true
	}
	var chosen []int
	for i, r := range c.events {
		if (len(f.Types) == 0 || slices.Contains(f.Types, r.EventType())) && (f.Correlation == "" || f.Correlation == r.Correlation) {
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == len(c.events) {
		return n, true
	}
	n.Events, n.chosen = make([]es.Recorded, len(chosen)), chosen
	for i, at := range chosen {
		n.Events[i] = c.events[at]
	}
	return n, len(chosen) > 0
}
