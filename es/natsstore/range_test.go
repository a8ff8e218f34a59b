package natsstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
)

var gate = es.Stream{Category: "gate", ID: "a"}

// doorsAndGates stores door 1, gate 2, door 3, gate 4 …
func doorsAndGates(t *testing.T, log *natsstore.Log, each int) {
	t.Helper()
	var front, other es.Revision
	var err error
	for version := range uint64(each) {
		if front, err = log.Append(t.Context(), natsstore.CommitOf(natsstore.Front, version+1, front, natsstore.Closed{})); err != nil {
			t.Fatal(err)
		}
		if other, err = log.Append(t.Context(), natsstore.CommitOf(gate, version+1, other, natsstore.Closed{})); err != nil {
			t.Fatal(err)
		}
	}
}

func inRange(t *testing.T, log *natsstore.Log, part es.Stream, after, upTo es.Revision) (found []es.Revision, err error) {
	t.Helper()
	err = log.Range(t.Context(), part, after, upTo, func(c natsstore.Stored) error {
		found = append(found, c.Revision)
		return nil
	})
	return found, err
}

func TestARangeIsReadInPages(t *testing.T) {
	t.Parallel()
	log := open(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), natsstore.Codec(t), 1)
	if found, err := inRange(t, log, es.Stream{}, 0, 9); err != nil || found != nil {
		t.Errorf("an empty log: %v, %v", found, err)
	}
	const each = 300 // so that several pages are needed
	doorsAndGates(t, log, each)
	for name, c := range map[string]struct {
		part        es.Stream
		after, upTo es.Revision
		want        func(es.Revision) bool
	}{
		"everything":                  {es.Stream{}, 0, 2 * each, func(es.Revision) bool { return true }},
		"beyond the end":              {es.Stream{}, 0, 9 * each, func(es.Revision) bool { return true }},
		"a middle":                    {es.Stream{}, 10, 20, func(r es.Revision) bool { return r > 10 && r <= 20 }},
		"nothing":                     {es.Stream{}, 20, 20, func(es.Revision) bool { return false }},
		"what is to come":             {es.Stream{}, 2 * each, 9 * each, func(es.Revision) bool { return false }},
		"one aggregate":               {natsstore.Front, 0, 2 * each, func(r es.Revision) bool { return r%2 == 1 }},
		"one aggregate, a middle":     {gate, 11, 501, func(r es.Revision) bool { return r%2 == 0 && r > 11 && r <= 501 }},
		"a category":                  {es.Stream{Category: "door"}, 0, 2 * each, func(r es.Revision) bool { return r%2 == 1 }},
		"a category, up to another's": {es.Stream{Category: "door"}, 4, 8, func(r es.Revision) bool { return r == 5 || r == 7 }},
		"an unknown category":         {es.Stream{Category: "window"}, 0, 2 * each, func(es.Revision) bool { return false }},
	} {
		var want []es.Revision
		for r := range es.Revision(2 * each) {
			if c.want(r + 1) {
				want = append(want, r+1)
			}
		}
		found, err := inRange(t, log, c.part, c.after, c.upTo)
		if diff := cmp.Diff(want, found); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	for _, bad := range []es.Stream{{Category: "a.b"}, {ID: "x"}, {Category: "door", ID: "*"}, {Category: ">"}} {
		if _, err := inRange(t, log, bad, 0, 9); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%v: %v", bad, err)
		}
		if err := log.Follow(t.Context(), bad, 0, func(error) {}, func(natsstore.Stored) error { return nil }); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("follow %v: %v", bad, err)
		}
	}
	stop := errors.New("enough")
	if err := log.Range(t.Context(), es.Stream{}, 0, 9, func(natsstore.Stored) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what the caller returned", err)
	}
}

func TestFollowGoesOnFromARevision(t *testing.T) {
	t.Parallel()
	log := open(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), natsstore.Codec(t), 1)
	doorsAndGates(t, log, 10)
	last := es.Revision(20)
	for name, c := range map[string]struct {
		part es.Stream
		want []es.Revision
	}{
		"everything": {es.Stream{}, []es.Revision{16, 17, 18, 19, 20, 21}},
		"a category": {es.Stream{Category: "door"}, []es.Revision{17, 19, 21}},
	} {
		var found []es.Revision
		ctx, cancel := context.WithCancel(t.Context())
		err := log.Follow(ctx, c.part, 15, func(err error) { t.Errorf("%s: interrupted: %v", name, err) }, func(s natsstore.Stored) error {
			found = append(found, s.Revision)
			if s.Revision == 19 && last == 20 {
				var err error
				last, err = log.Append(ctx, natsstore.CommitOf(natsstore.Front, 11, 19, natsstore.Closed{}))
				return err
			}
			if s.Revision == 21 {
				cancel()
			}
			return nil
		})
		if diff := cmp.Diff(c.want, found); !errors.Is(err, context.Canceled) || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

// TestAHoleIsNeverPassedOver takes a commit away, which nothing but damage does.
func TestAHoleIsNeverPassedOver(t *testing.T) {
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
	doorsAndGates(t, log, 4)
	if err := stream.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	found, err := inRange(t, log, es.Stream{}, 0, 8)
	if !errors.Is(err, es.ErrCorrupt) || !slices.Equal(found, []es.Revision{1, 2}) {
		t.Errorf("range: %v, %v", found, err)
	}
	found = nil
	err = log.Follow(t.Context(), es.Stream{}, 0, func(err error) { t.Errorf("interrupted: %v", err) }, func(c natsstore.Stored) error {
		found = append(found, c.Revision)
		return nil
	})
	if !errors.Is(err, es.ErrCorrupt) || !slices.Equal(found, []es.Revision{1, 2}) {
		t.Errorf("follow: %v, %v", found, err)
	}
}

func TestAnEventOfANewerProgramIsPassedOn(t *testing.T) {
	t.Parallel()
	log := open(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), natsstore.Codec(t), 1)
	if _, err := log.Append(t.Context(), natsstore.CommitOf(natsstore.Front, 1, 0, natsstore.Opened{By: "ada"})); err != nil {
		t.Fatal(err)
	}
	var stored natsstore.Stored
	if err := log.Range(t.Context(), es.Stream{}, 0, 1, func(c natsstore.Stored) error { stored = c; return nil }); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(){
		"as it is":            func() {},
		"of a later version":  func() { stored.Header["ce-eventversion"] = []string{"7"} },
		"of an unknown type":  func() { stored.Header["ce-type"] = []string{"Painted"} },
		"of a shape unheard ": func() { stored.Data = []byte(`["colour"]`) },
	} {
		change()
		events, err := log.ReadAny(stored)
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %v, %v", name, events, err)
		}
		wire, err := log.CloudEvent(events[0])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got struct {
			ID, Type, Subject, Source, CorrelationID string
			EventVersion, Version                    int
			Data                                     json.RawMessage
		}
		if err := json.Unmarshal(wire, &got); err != nil {
			t.Fatalf("%s: %s: %v", name, wire, err)
		}
		want := fmt.Sprint(stored.Header["ce-type"][0], stored.Header["ce-eventversion"][0], string(stored.Data), "c-1/1", "door/front", "/door/front", "r", 1)
		if found := fmt.Sprint(got.Type, got.EventVersion, string(got.Data), got.ID, got.Subject, got.Source, got.CorrelationID, got.Version); found != want {
			t.Errorf("%s:\n got %s\nwant %s", name, found, want)
		}
	}
	stored.Data = []byte(`{"by":`)
	if _, err := log.ReadAny(stored); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("what is no JSON: %v", err)
	}
}
