package natsstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
)

// revisions reads a part of the log.
func revisions(t *testing.T, log *natsstore.Log, span natsstore.Span) (found []es.Revision, err error) {
	t.Helper()
	err = log.Each(t.Context(), span, func(c natsstore.Stored, last es.Revision) error {
		if c.Revision > last {
			t.Errorf("revision %d is beyond the last, %d", c.Revision, last)
		}
		found = append(found, c.Revision)
		return nil
	})
	return found, err
}

func TestEachReadsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	log := open(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), natsstore.Codec(t), 1)
	if found, err := revisions(t, log, natsstore.Span{}); err != nil || found != nil {
		t.Errorf("an empty log: %v, %v", found, err)
	}
	gate := es.Stream{Category: "gate", ID: "a"}
	var front, other es.Revision
	var err error
	for version := range uint64(3) { // door 1, gate 2, door 3, gate 4, door 5, gate 6
		if front, err = log.Append(t.Context(), natsstore.CommitOf(natsstore.Front, version+1, front, natsstore.Closed{})); err != nil {
			t.Fatal(err)
		}
		if other, err = log.Append(t.Context(), natsstore.CommitOf(gate, version+1, other, natsstore.Closed{})); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		span natsstore.Span
		want []es.Revision
	}{
		"everything":                   {natsstore.Span{}, []es.Revision{1, 2, 3, 4, 5, 6}},
		"up to a revision":             {natsstore.Span{UpTo: 4}, []es.Revision{1, 2, 3, 4}},
		"up to one beyond the end":     {natsstore.Span{UpTo: 99}, []es.Revision{1, 2, 3, 4, 5, 6}},
		"a category":                   {natsstore.Span{Category: "door"}, []es.Revision{1, 3, 5}},
		"a category up to another's":   {natsstore.Span{Category: "door", UpTo: 4}, []es.Revision{1, 3}},
		"a category before it began":   {natsstore.Span{Category: "gate", UpTo: 1}, nil},
		"an unknown category":          {natsstore.Span{Category: "window"}, nil},
		"since an hour ago":            {natsstore.Span{Since: time.Now().Add(-time.Hour)}, []es.Revision{1, 2, 3, 4, 5, 6}},
		"since a time that is to come": {natsstore.Span{Since: time.Now().Add(time.Hour)}, nil},
	} {
		found, err := revisions(t, log, c.span)
		if diff := cmp.Diff(c.want, found); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if _, err := revisions(t, log, natsstore.Span{Category: "a.b"}); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("a category that is no token: %v", err)
	}
	stop := errors.New("enough")
	if err := log.Each(t.Context(), natsstore.Span{}, func(natsstore.Stored, es.Revision) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what the caller returned", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	err = log.Each(ended, natsstore.Span{}, func(natsstore.Stored, es.Revision) error { cancel(); return nil })
	if err != nil && !errors.Is(err, es.ErrTransient) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestEachSeesAHole(t *testing.T) {
	t.Parallel()
	nc := inProcess(t, estest.StartServer(t, millstream.NATSConf))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: natsstore.EventsStream, Subjects: []string{"events.*.*"}, AllowDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	log, err := natsstore.NewLog(nc, natsstore.Codec(t))
	if err != nil {
		t.Fatal(err)
	}
	var last es.Revision
	for version := range uint64(4) {
		if last, err = log.Append(t.Context(), natsstore.CommitOf(natsstore.Front, version+1, last, natsstore.Closed{})); err != nil {
			t.Fatal(err)
		}
	}
	for _, hole := range []uint64{2, 1} {
		if err := stream.DeleteMsg(t.Context(), hole); err != nil {
			t.Fatal(err)
		}
		if found, err := revisions(t, log, natsstore.Span{}); !errors.Is(err, es.ErrCorrupt) {
			t.Errorf("without revision %d: %v, %v", hole, found, err)
		}
	}
}

func TestMayCorrelateNeverMisses(t *testing.T) {
	t.Parallel()
	log := open(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), natsstore.Codec(t), 1)
	odd := `a "b" <c> 100% \d`
	var last es.Revision
	for i, events := range [][]es.Event{{natsstore.Closed{}}, {natsstore.Closed{}, natsstore.Opened{By: "ada"}}} {
		commit := natsstore.CommitOf(natsstore.Front, uint64(i+1), last, events...)
		for j := range commit.Events {
			commit.Events[j].Correlation = odd
		}
		var err error
		if last, err = log.Append(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	err := log.Each(t.Context(), natsstore.Span{}, func(c natsstore.Stored, _ es.Revision) error {
		if !c.MayCorrelate(odd) || c.MayCorrelate("another") {
			t.Errorf("revision %d: %t for its own, %t for another", c.Revision, c.MayCorrelate(odd), c.MayCorrelate("another"))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
