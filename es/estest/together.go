package estest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
)

// before is what a snapshot stands on: it fits only when the log holds the very event that it ends with.
func (t *logTest) before() {
	s, other := es.Stream{Category: "counter", ID: "1"}, es.Stream{Category: "counter", ID: "2"}
	first := t.append(commit(s, es.History{}, "a", counted{By: 1}, counted{By: 2}))
	foreign := t.append(commit(other, es.History{}, "b", counted{By: 9}))
	second := t.append(commit(s, t.load(s, es.Range{}), "c", counted{By: 3}))
	for _, test := range []struct {
		name  string
		after es.Revision
		want  es.Recorded
		tail  int
	}{
		{"the beginning", 0, es.Recorded{}, 3},
		{"a commit of several events", first[0].Revision, first[1], 1},
		{"the last commit", second[0].Revision, second[0], 0},
		{"a commit of another stream", foreign[0].Revision, es.Recorded{}, 1},
		{"the future", second[0].Revision + 1, es.Recorded{}, 0},
		{"the far future", second[0].Revision + 1000, es.Recorded{}, 0},
	} {
		h := t.load(s, es.Range{After: test.after})
		if diff := cmp.Diff(test.want, h.Before); diff != "" || len(h.Events) != test.tail {
			t.Errorf("after %s: %d events, want %d, following (-want +got):\n%s", test.name, len(h.Events), test.tail, diff)
		}
	}
	if h := t.load(es.Stream{Category: "counter", ID: "nobody"}, es.Range{After: first[0].Revision}); h.Before.Event != nil {
		t.Errorf("an unknown stream follows %+v", h.Before)
	}
}

func (t *logTest) appendAll(commits ...es.Commit) [][]es.Recorded {
	t.Helper()
	last, err := t.log.AppendAll(t.ctx, commits...)
	if err != nil {
		t.Fatalf("append %d commits together: %v", len(commits), err)
	}
	all := make([][]es.Recorded, len(commits))
	for i, c := range commits {
		all[i] = append(all[i], c.Events...)
		for k := range all[i] {
			all[i][k].Revision = last - es.Revision(len(commits)-1-i)
		}
	}
	return all
}

func streams() (a, b, c es.Stream) {
	return es.Stream{Category: "counter", ID: "a"}, es.Stream{Category: "counter", ID: "b"}, es.Stream{Category: "meter", ID: "a"}
}

// both builds commits of one command, at one time, to streams whose histories are known.
func both(commandID string, commits ...es.Commit) []es.Commit {
	for i := range commits {
		for k := range commits[i].Events {
			e := &commits[i].Events[k]
			e.CommandID, e.ID, e.Correlation, e.Time = commandID, fmt.Sprintf("%s/%d", commandID, k+1), commandID, Noon
		}
	}
	return commits
}

func (t *logTest) together() {
	a, b, c := streams()
	first := t.appendAll(both("one", commit(a, es.History{}, "", counted{By: 1}, counted{By: 2}), commit(b, es.History{}, "", counted{By: 3}))...)
	t.holds(a, es.Range{}, first[0]...)
	t.holds(b, es.Range{}, first[1]...)
	second := t.appendAll(both("two", commit(c, es.History{}, "", reset{}), commit(b, t.load(b, es.Range{}), "", counted{By: 4}), commit(a, t.load(a, es.Range{}), "", counted{By: 5}))...)
	alone := t.appendAll(both("three", commit(c, t.load(c, es.Range{}), "", counted{By: 6}))...)
	t.holds(a, es.Range{}, append(first[0], second[2]...)...)
	t.holds(b, es.Range{}, append(first[1], second[1]...)...)
	t.holds(c, es.Range{}, append(second[0], alone[0]...)...)
	t.holds(a, es.Range{}, append(append(first[0], second[2]...), t.append(commit(a, t.load(a, es.Range{}), "four", counted{By: 7}))...)...)
}

func (t *logTest) togetherConflict() {
	a, b, c := streams()
	stands := t.append(commit(b, es.History{}, "before", counted{By: 1}))
	for name, stale := range map[string]es.History{
		"was taken for empty": {},
		"is one behind":       {Revision: stands[0].Revision - 1},
		"is ahead":            {Revision: stands[0].Revision + 1, Events: stands},
	} {
		commits := both(name, commit(a, es.History{}, "", counted{By: 2}), commit(b, stale, "", counted{By: 3}), commit(c, es.History{}, "", counted{By: 4}))
		if revision, err := t.log.AppendAll(t.ctx, commits...); !errors.Is(err, es.ErrConflict) {
			t.Fatalf("the second stream %s: got %d, %v; want ErrConflict", name, revision, err)
		}
	}
	t.holds(a, es.Range{})
	t.holds(b, es.Range{}, stands...)
	t.holds(c, es.Range{})
}

func (t *logTest) togetherRepeated() {
	a, b, _ := streams()
	commits := both("one", commit(a, es.History{}, "", counted{By: 1}), commit(b, es.History{}, "", counted{By: 2}))
	first := t.appendAll(commits...)
	if revision, err := t.log.AppendAll(t.ctx, commits...); !errors.Is(err, es.ErrConflict) {
		t.Fatalf("again: got %d, %v; want ErrConflict", revision, err)
	}
	t.holds(a, es.Range{}, first[0]...)
	t.holds(b, es.Range{}, first[1]...)
}

func (t *logTest) togetherRefused() {
	a, b, _ := streams()
	one := commit(a, es.History{}, "one", counted{By: 1})
	later := both("one", commit(b, es.History{}, "", counted{By: 2}))[0]
	later.Events[0].Time = Noon.Add(1)
	for name, commits := range map[string][]es.Commit{
		"nothing":                {},
		"two of one stream":      both("one", one, commit(a, es.History{}, "", counted{By: 2})),
		"of two commands":        {one, commit(b, es.History{}, "two", counted{By: 2})},
		"of two times":           {both("one", one)[0], later},
		"one without any events": both("one", one, es.Commit{Stream: b}),
		"of a forbidden id":      both("one", one, commit(es.Stream{Category: "counter", ID: "*"}, es.History{}, "", counted{By: 2})),
	} {
		if revision, err := t.log.AppendAll(t.ctx, commits...); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%s: got %d, %v; want a permanent error", name, revision, err)
		}
	}
	ended, end := context.WithCancel(t.ctx)
	end()
	if _, err := t.log.AppendAll(ended, both("one", one, commit(b, es.History{}, "", counted{By: 2}))...); !errors.Is(err, es.ErrTransient) {
		t.Errorf("an ended context: got %v, want a transient error", err)
	}
	t.holds(a, es.Range{})
	t.holds(b, es.Range{})
}

func (t *logTest) togetherTemporalRead() {
	a, b, c := streams()
	t.append(commit(c, es.History{}, "before", counted{By: 1}))
	moved := t.appendAll(both("one", commit(a, es.History{}, "", counted{By: -1}), commit(b, es.History{}, "", counted{By: 1}))...)
	t.append(commit(b, t.load(b, es.Range{}), "after", counted{By: 1}))
	first, last := moved[0][0].Revision, moved[1][0].Revision
	t.holds(a, es.Range{UpTo: first - 1})
	t.holds(b, es.Range{UpTo: first - 1})
	for upTo := first; upTo <= last; upTo++ {
		t.holds(a, es.Range{UpTo: upTo}, moved[0]...)
		t.holds(b, es.Range{UpTo: upTo}, moved[1]...)
	}
}

// togetherWriters race; whatever is taken from one stream must have been put into another.
func (t *logTest) togetherWriters() {
	const writers, each = 16, 4
	a, b, c := streams()
	ring := []es.Stream{a, b, c}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				from, to := ring[(w+i)%3], ring[(w+i+1)%3]
				for {
					out, err := t.log.Load(t.ctx, from, es.Range{})
					in, err2 := t.log.Load(t.ctx, to, es.Range{})
					if err := errors.Join(err, err2); err != nil {
						t.Errorf("writer %d: %v", w, err)
						return
					}
					_, err = t.log.AppendAll(t.ctx, both(fmt.Sprintf("w-%d-%d", w, i), commit(from, out, "", counted{By: -1}), commit(to, in, "", counted{By: 1}))...)
					if err == nil {
						break
					}
					if !errors.Is(err, es.ErrTransient) || errors.Is(err, es.ErrUnknownOutcome) {
						t.Errorf("writer %d: %v", w, err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	sum, events := int64(0), 0
	for _, s := range ring {
		for _, r := range t.load(s, es.Range{}).Events {
			sum += r.Event.(counted).By
			events++
		}
	}
	if sum != 0 || events != 2*writers*each {
		t.Errorf("%d events sum up to %d, want %d and 0", events, sum, 2*writers*each)
	}
}
