package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

func TestAQueryWaitsForTheRevisionItDemands(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	for i := range 20 {
		reply := e.Execute(t.Context(), request("a", putCoins{1}, ""))
		answer, at, err := e.Ask(t.Context(), potByID, potParams{"a"}, reply.Revision)
		if err != nil || answer.(potAnswer).Coins != i+1 || at < reply.Revision {
			t.Fatalf("after revision %d: %+v at %d, %v", reply.Revision, answer, at, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := e.Ask(ctx, potByID, potParams{"a"}, 9999); !errors.Is(err, es.ErrTransient) {
		t.Errorf("a revision that does not come: %v, want a transient error", err)
	}
}

func TestAProjectorThatCannotGoOnHaltsAndTheOthersDo(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{1}, "")), es.Accepted)
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{13}, "")), es.Accepted)
	last := e.Execute(t.Context(), request("a", putCoins{2}, ""))
	if answer, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, last.Revision); err != nil || answer.(potAnswer).Coins != 16 {
		t.Errorf("the other projector: %+v, %v", answer, err)
	}
	var halted Check
	eventually(t, "the halt", func() bool {
		for _, c := range e.Checks(t.Context()) {
			if c.Name == "projector strict" && !c.OK {
				halted = c
				return true
			}
		}
		return false
	})
	if !strings.Contains(halted.Detail, "13 coins") || !strings.Contains(halted.Detail, "revision 1") {
		t.Errorf("the check must name cause and place: %s", halted.Detail)
	}
}

func TestARebuildEndsWhereTheServingModelStandsAndReportsProgress(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	var last es.Reply
	for i := range 100 {
		last = e.Execute(t.Context(), request(fmt.Sprintf("p-%d", i%7), putCoins{1}, ""))
	}
	if _, _, err := e.Ask(t.Context(), potByID, potParams{"p-0"}, last.Revision); err != nil {
		t.Fatal(err)
	}
	var done es.Revision
	if err := Rebuild(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada"}, func(_ string, d, _ es.Revision) { done = d }); err != nil {
		t.Fatal(err)
	}
	if done != last.Revision {
		t.Errorf("the rebuild ended at revision %d, want %d", done, last.Revision)
	}
	if answer, _, err := e.Ask(t.Context(), potByID, potParams{"p-0"}, last.Revision); err != nil || answer.(potAnswer).Coins != 15 {
		t.Errorf("after the rebuild: %+v, %v", answer, err)
	}
	next := e.Execute(t.Context(), request("p-0", putCoins{1}, ""))
	if answer, _, err := e.Ask(t.Context(), potByID, potParams{"p-0"}, next.Revision); err != nil || answer.(potAnswer).Coins != 16 {
		t.Errorf("an event after the rebuild: %+v, %v", answer, err)
	}
	if err := Rebuild(t.Context(), s.conn, ProjectionRequest{Name: "nobody", By: "ada"}, func(string, es.Revision, es.Revision) {}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("an unknown projector: %v", err)
	}
}

func TestARestartGoesOnAtTheCheckpoint(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	last := e.Execute(t.Context(), request("a", putCoins{1}, ""))
	if _, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, last.Revision); err != nil {
		t.Fatal(err)
	}
	closeEngine(t, e)
	other := s.start(t, func(c *Config) { c.DataDir = t.TempDir(); c.Roles = []Role{RoleCommands} })
	last = other.Execute(t.Context(), request("a", putCoins{1}, ""))
	again := s.start(t)
	if answer, _, err := again.Ask(t.Context(), potByID, potParams{"a"}, last.Revision); err != nil || answer.(potAnswer).Coins != 2 {
		t.Errorf("%+v, %v", answer, err)
	}
	if _, _, err := other.Ask(t.Context(), potByID, potParams{"a"}, 0); !errors.Is(err, es.ErrTransient) {
		t.Errorf("a query without the projectors' role: %v", err)
	}
}

func TestAReadModelOfAnotherLogIsRebuilt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for coins := range 2 {
		s := newTestServer(t) // a new log each time, the same read models
		s.dir = dir
		e := s.start(t)
		last := e.Execute(t.Context(), request("a", putCoins{coins + 1}, ""))
		if answer, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, last.Revision); err != nil || answer.(potAnswer).Coins != coins+1 {
			t.Errorf("%+v, %v", answer, err)
		}
		closeEngine(t, e)
	}
}

func TestAGapIsReadFromTheLeaderInItsPlace(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	stream, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "GAPPY", Subjects: []string{"gappy"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := s.js.Publish(t.Context(), "gappy", fmt.Append(nil, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, gone := range []uint64{1, 3, 4} {
		if err := stream.DeleteMsg(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	sub := NewBatchSubscriber(BatchConfig{
		JetStream: s.js, Stream: "GAPPY", Durable: "reader",
		Next:    func() uint64 { return 1 },
		Decode:  func(m natsstore.Message, _ uint64) (any, error) { return string(m.Data), nil },
		Missing: func(sequence uint64) (any, error) { return fmt.Sprintf("missing %d", sequence), nil },
	})
	batches, err := sub.Subscribe(t.Context(), "gappy")
	if err != nil {
		t.Fatal(err)
	}
	var got []any
	for len(got) < 5 {
		m := <-batches
		got = append(got, BatchFrom(m.Context()).Items...)
		m.Ack()
	}
	if want := "[missing 1 2 missing 3 missing 4 5]"; fmt.Sprint(got) != want {
		t.Errorf("read %v, want %s", got, want)
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
}

func TestStateAtShowsThePastAndRefusesTheFuture(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Roles = []Role{RoleCommands} })
	first := e.Execute(t.Context(), request("a", putCoins{1}, ""))
	second := e.Execute(t.Context(), request("a", putCoins{2}, ""))
	for name, c := range map[string]struct {
		at    es.Range
		coins int
	}{
		"now":                 {es.Range{}, 3},
		"at the first":        {es.Range{UpTo: first.Revision}, 1},
		"at the second":       {es.Range{UpTo: second.Revision}, 3},
		"at this very moment": {es.Range{AsOf: time.Now()}, 3},
	} {
		if at, err := e.StateAt(t.Context(), pots.Stream("a"), c.at); err != nil || at.State.(pot).Coins != c.coins {
			t.Errorf("%s: %+v, %v; want %d coins", name, at, err, c.coins)
		}
	}
	for name, c := range map[string]struct {
		stream es.Stream
		at     es.Range
		status int
	}{
		"before it began":    {pots.Stream("a"), es.Range{AsOf: time.Now().Add(-time.Hour)}, 404},
		"never begun":        {pots.Stream("b"), es.Range{}, 404},
		"a future revision":  {pots.Stream("a"), es.Range{UpTo: 99}, 400},
		"a future time":      {pots.Stream("a"), es.Range{AsOf: time.Now().Add(time.Hour)}, 400},
		"an unknown kind":    {es.Stream{Category: "pit", ID: "a"}, es.Range{}, 404},
		"an id with a point": {pots.Stream("a.b"), es.Range{}, 400},
	} {
		if _, err := e.StateAt(t.Context(), c.stream, c.at); Status(err) != c.status {
			t.Errorf("%s: %v (status %d), want status %d", name, err, Status(err), c.status)
		}
	}
}
