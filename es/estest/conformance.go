package estest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// RunLogConformance is what every es.Log must pass. newLog makes an empty log for one test, which uses the codec
// that it is given and is cleaned up with the test.
func RunLogConformance(t *testing.T, newLog func(t *testing.T, codec *schema.Registry) es.Log) {
	codec, err := schema.New(counterDomain())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		run  func(*logTest)
	}{
		{"an unknown stream is empty", (*logTest).unknownStream},
		{"everything recorded comes back", (*logTest).roundTrip},
		{"a commit of several events has one revision", (*logTest).atomicCommit},
		{"an outdated expectation conflicts and stores nothing", (*logTest).conflict},
		{"the same append again conflicts", (*logTest).repeatedAppend},
		{"streams do not hinder each other", (*logTest).independentStreams},
		{"a history is read up to a revision, after one, and as of a time", (*logTest).temporalRead},
		{"16 writers on one aggregate lose and double nothing", (*logTest).writers},
		{"a history of 5,000 commits is read whole", (*logTest).longHistory},
		{"a history says what it follows", (*logTest).before},
		{"commits of several streams are stored together", (*logTest).together},
		{"a conflict of one of them stores nothing", (*logTest).togetherConflict},
		{"the same commits together again conflict", (*logTest).togetherRepeated},
		{"what cannot be stored together is refused", (*logTest).togetherRefused},
		{"a read does not stop between them", (*logTest).togetherTemporalRead},
		{"16 writers move one sum between three streams", (*logTest).togetherWriters},
		{"forbidden ids are refused", (*logTest).forbiddenIDs},
		{"an ended context is an error", (*logTest).endedContext},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(&logTest{T: t, log: newLog(t, codec), ctx: t.Context()})
		})
	}
}

type logTest struct {
	*testing.T
	log es.Log
	ctx context.Context
}

// commit builds what a command would append to a stream whose history is known.
func commit(stream es.Stream, h es.History, commandID string, events ...es.Event) es.Commit {
	c := es.Commit{Stream: stream, Expected: h.Revision}
	version := uint64(0)
	if n := len(h.Events); n > 0 {
		version = h.Events[n-1].Version
	}
	for i, e := range events {
		c.Events = append(c.Events, es.Recorded{
			Event: e, ID: fmt.Sprintf("%s/%d", commandID, i+1), Version: version + uint64(i) + 1,
			Meta: es.Meta{Stream: stream, CommandID: commandID, Correlation: "correlation-" + commandID, Time: Noon.Add(time.Duration(version) * time.Minute)},
		})
	}
	return c
}

// append stores a commit and returns it as it must be read back.
func (t *logTest) append(c es.Commit) []es.Recorded {
	t.Helper()
	revision, err := t.log.Append(t.ctx, c)
	if err != nil {
		t.Fatalf("append to %s: %v", c.Stream, err)
	}
	if revision <= c.Expected {
		t.Fatalf("append to %s after revision %d returned revision %d", c.Stream, c.Expected, revision)
	}
	events := append([]es.Recorded{}, c.Events...)
	for i := range events {
		events[i].Revision = revision
	}
	return events
}

func (t *logTest) load(s es.Stream, r es.Range) es.History {
	t.Helper()
	h, err := t.log.Load(t.ctx, s, r)
	if err != nil {
		t.Fatalf("load %s %+v: %v", s, r, err)
	}
	return h
}

// holds checks a history, and that Last agrees when it is the whole one.
func (t *logTest) holds(s es.Stream, r es.Range, want ...es.Recorded) {
	t.Helper()
	h := es.History{Events: want}
	if n := len(want); n > 0 {
		h.Revision = want[n-1].Revision
	}
	got := t.load(s, r)
	got.Before = es.Recorded{} // has a test of its own
	if diff := difference(h, got); diff != "" {
		t.Fatalf("load %s %+v: history differs (-want +got):\n%s", s, r, diff)
	}
	if r != (es.Range{}) {
		return
	}
	if last, err := t.log.Last(t.ctx, s); err != nil || last != h.Revision {
		t.Fatalf("last revision of %s: got %d, %v; want %d", s, last, err, h.Revision)
	}
}

func (t *logTest) unknownStream() {
	t.holds(es.Stream{Category: "counter", ID: "nobody"}, es.Range{})
	t.holds(es.Stream{Category: "counter", ID: "nobody"}, es.Range{After: 7, UpTo: 9, AsOf: Noon})
}

func (t *logTest) roundTrip() {
	s := es.Stream{Category: "counter", ID: "A-z_09"}
	full := commit(s, es.History{}, "command-1", counted{By: 1<<53 + 1, Note: "“quoted\"\r\n<&> \u0000 ä 🌍"})
	full.Events[0].Meta = es.Meta{
		Stream: s, CommandID: "command-1", User: "Ada Löwe, 100% “ada@example.com”", Correlation: "c-1", Causation: "other-command/2",
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", RequestHash: "0123456789abcdef",
		Time: time.Date(2026, 2, 3, 4, 5, 6, 123456789, time.UTC),
	}
	first := t.append(full)
	t.holds(s, es.Range{}, first...)
	bare := commit(s, t.load(s, es.Range{}), "command-2", counted{})
	bare.Events[0].Meta = es.Meta{Stream: s, CommandID: "command-2", Time: Noon}
	t.holds(s, es.Range{}, append(first, t.append(bare)...)...)
}

func (t *logTest) atomicCommit() {
	s := es.Stream{Category: "counter", ID: "1"}
	first := t.append(commit(s, es.History{}, "a", counted{By: 1}, reset{}, counted{By: 2, Note: "third"}))
	t.holds(s, es.Range{}, first...)
	second := t.append(commit(s, t.load(s, es.Range{}), "b", counted{By: 3}, counted{By: 4}))
	t.holds(s, es.Range{}, append(first, second...)...)
	t.holds(s, es.Range{UpTo: first[0].Revision}, first...)
	t.holds(s, es.Range{After: first[0].Revision}, second...)
}

func (t *logTest) conflict() {
	s := es.Stream{Category: "counter", ID: "1"}
	empty := es.History{}
	first := t.append(commit(s, empty, "a", counted{By: 1}))
	one := t.load(s, es.Range{})
	second := t.append(commit(s, one, "b", counted{By: 2}))
	for name, h := range map[string]es.History{
		"empty":      empty,
		"one behind": one,
		"ahead":      {Events: append(first, second...), Revision: second[0].Revision + 1},
	} {
		t.conflicts(name, commit(s, h, "c", counted{By: 3}))
	}
	t.conflicts("nothing yet, but an expectation", commit(es.Stream{Category: "counter", ID: "2"}, one, "d", counted{By: 1}))
	t.holds(s, es.Range{}, append(first, second...)...)
	t.holds(es.Stream{Category: "counter", ID: "2"}, es.Range{})
}

func (t *logTest) conflicts(name string, c es.Commit) {
	t.Helper()
	if revision, err := t.log.Append(t.ctx, c); !errors.Is(err, es.ErrConflict) {
		t.Fatalf("%s: append returned %d, %v; want ErrConflict", name, revision, err)
	}
}

func (t *logTest) repeatedAppend() {
	s := es.Stream{Category: "counter", ID: "1"}
	c := commit(s, es.History{}, "a", counted{By: 1})
	first := t.append(c)
	t.conflicts("first commit again", c)
	c = commit(s, t.load(s, es.Range{}), "b", counted{By: 2}, counted{By: 3})
	second := t.append(c)
	t.conflicts("second commit again", c)
	t.holds(s, es.Range{}, append(first, second...)...)
}

func (t *logTest) independentStreams() {
	one, ten := es.Stream{Category: "counter", ID: "1"}, es.Stream{Category: "counter", ID: "10"}
	other := es.Stream{Category: "meter", ID: "1"}
	first := t.append(commit(one, es.History{}, "a", counted{By: 1}))
	tenth := t.append(commit(ten, es.History{}, "a", counted{By: 10}))
	elsewhere := t.append(commit(other, es.History{}, "a", counted{By: 100}))
	if first[0].Revision >= tenth[0].Revision || tenth[0].Revision >= elsewhere[0].Revision {
		t.Fatalf("revisions %d, %d, %d do not rise through the log", first[0].Revision, tenth[0].Revision, elsewhere[0].Revision)
	}
	again := t.append(commit(one, t.load(one, es.Range{}), "b", counted{By: 2}))
	t.holds(one, es.Range{}, append(first, again...)...)
	t.holds(ten, es.Range{}, tenth...)
	t.holds(other, es.Range{}, elsewhere...)
}

// temporalRead stores commits a minute apart, with commits of another stream between them.
func (t *logTest) temporalRead() {
	s, other := es.Stream{Category: "counter", ID: "1"}, es.Stream{Category: "counter", ID: "2"}
	var all []es.Recorded
	for i := range 5 {
		all = append(all, t.append(commit(s, t.load(s, es.Range{}), fmt.Sprint("a-", i), counted{By: int64(i)}))...)
		t.append(commit(other, t.load(other, es.Range{}), fmt.Sprint("b-", i), counted{}))
	}
	at := func(i int) es.Revision { return all[i].Revision }
	t.holds(s, es.Range{UpTo: at(2)}, all[:3]...)
	t.holds(s, es.Range{UpTo: at(2) + 1}, all[:3]...)
	t.holds(s, es.Range{UpTo: at(0)}, all[:1]...)
	t.holds(s, es.Range{UpTo: at(4) + 1000}, all...)
	t.holds(s, es.Range{After: at(2)}, all[3:]...)
	t.holds(s, es.Range{After: at(2) + 1}, all[3:]...)
	t.holds(s, es.Range{After: at(4)})
	t.holds(s, es.Range{After: at(0), UpTo: at(3)}, all[1:4]...)
	t.holds(s, es.Range{AsOf: all[2].Time}, all[:3]...)
	t.holds(s, es.Range{AsOf: all[2].Time.Add(time.Second)}, all[:3]...)
	t.holds(s, es.Range{AsOf: all[2].Time.Add(-time.Nanosecond)}, all[:2]...)
	t.holds(s, es.Range{AsOf: all[0].Time.Add(-time.Hour)})
	t.holds(s, es.Range{After: at(0), UpTo: at(3), AsOf: all[2].Time}, all[1:3]...)
}

func (t *logTest) writers() {
	const writers, each = 16, 10
	s := es.Stream{Category: "counter", ID: "busy"}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := t.increment(s, fmt.Sprintf("writer-%d-%d", w, i)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	group.Wait()
	h := t.load(s, es.Range{})
	if len(h.Events) != writers*each {
		t.Fatalf("%d events were stored, want %d", len(h.Events), writers*each)
	}
	seen := map[string]bool{}
	for i, r := range h.Events {
		if r.Version != uint64(i+1) {
			t.Fatalf("event %d has version %d", i+1, r.Version)
		}
		if i > 0 && r.Revision <= h.Events[i-1].Revision {
			t.Fatalf("version %d has revision %d after revision %d", r.Version, r.Revision, h.Events[i-1].Revision)
		}
		if seen[r.CommandID] {
			t.Fatalf("command %s was stored twice", r.CommandID)
		}
		seen[r.CommandID] = true
	}
}

// increment is optimistic: load, append, and from the start again when another writer was faster.
func (t *logTest) increment(s es.Stream, commandID string) error {
	for {
		h, err := t.log.Load(t.ctx, s, es.Range{})
		if err != nil {
			return err
		}
		for _, r := range h.Events {
			if r.CommandID == commandID {
				return nil // stored by an append whose answer was lost
			}
		}
		_, err = t.log.Append(t.ctx, commit(s, h, commandID, counted{By: 1}))
		if !errors.Is(err, es.ErrConflict) && !errors.Is(err, es.ErrUnknownOutcome) {
			return err
		}
	}
}

func (t *logTest) longHistory() {
	const commits = 5000
	s := es.Stream{Category: "counter", ID: "old"}
	var h es.History
	for i := range commits {
		c := commit(s, h, fmt.Sprint("command-", i), counted{By: int64(i)})
		revision, err := t.log.Append(t.ctx, c)
		if err != nil {
			t.Fatalf("commit %d: %v", i+1, err)
		}
		c.Events[0].Revision = revision
		h = es.History{Events: c.Events, Revision: revision}
	}
	got := t.load(s, es.Range{})
	if len(got.Events) != commits || got.Revision != h.Revision {
		t.Fatalf("%d events up to revision %d were read, want %d up to %d", len(got.Events), got.Revision, commits, h.Revision)
	}
	for i, r := range got.Events {
		if r.Version != uint64(i+1) || r.Event != (counted{By: int64(i)}) {
			t.Fatalf("event %d is %+v", i+1, r)
		}
	}
	t.holds(s, es.Range{After: got.Events[commits-3].Revision}, got.Events[commits-2:]...)
	t.holds(s, es.Range{UpTo: got.Events[2499].Revision}, got.Events[:2500]...)
}

func (t *logTest) forbiddenIDs() {
	for _, id := range []string{"a.b", "*", ">", "a b", "", "a\nb", "ä", strings.Repeat("x", es.MaxIDLength+1)} {
		for _, s := range []es.Stream{{Category: "counter", ID: id}, {Category: id, ID: "1"}} {
			_, appended := t.log.Append(t.ctx, commit(s, es.History{}, "a", counted{By: 1}))
			_, loaded := t.log.Load(t.ctx, s, es.Range{})
			_, last := t.log.Last(t.ctx, s)
			for name, err := range map[string]error{"Append": appended, "Load": loaded, "Last": last} {
				var invalid *es.InvalidError
				if !errors.As(err, &invalid) || invalid.Code != "bad_id" {
					t.Errorf("%s on %q: got %v, want an *es.InvalidError bad_id", name, s, err)
				}
			}
		}
	}
	s := es.Stream{Category: "counter", ID: strings.Repeat("x", es.MaxIDLength)}
	t.holds(s, es.Range{}, t.append(commit(s, es.History{}, "a", counted{By: 1}))...)
}

func (t *logTest) endedContext() {
	s := es.Stream{Category: "counter", ID: "1"}
	ended, end := context.WithCancel(t.ctx)
	end()
	_, appended := t.log.Append(ended, commit(s, es.History{}, "a", counted{By: 1}))
	_, loaded := t.log.Load(ended, s, es.Range{})
	_, last := t.log.Last(ended, s)
	for name, err := range map[string]error{"Append": appended, "Load": loaded, "Last": last} {
		if !errors.Is(err, es.ErrTransient) {
			t.Errorf("%s with an ended context: got %v, want a transient error", name, err)
		}
	}
}
