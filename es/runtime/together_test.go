package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// move takes coins from one pot and puts them into another.
func move(t testing.TB, id, from, to string, coins int) []es.Request {
	t.Helper()
	requests, err := es.Requests(es.Meta{CommandID: id}, pots.To(from, takeCoins{Coins: coins}), pots.To(to, putCoins{coins}))
	if err != nil {
		t.Fatal(err)
	}
	return requests
}

func TestCommandsTogetherAreOneCommand(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x := newTestExecutor(t, log)
	wantOutcome(t, x.execute(t.Context(), request("a", putCoins{5}, "c-1")), es.Accepted)
	first, err := x.executeAll(t.Context(), move(t, "m-1", "a", "b", 3))
	want := []es.Reply{
		{CommandID: "m-1", Outcome: es.Accepted, Stream: "pot/a", Revision: 2, Version: 2, Events: []string{"CoinsTaken"}, Durability: es.Fast},
		{CommandID: "m-1", Outcome: es.Accepted, Stream: "pot/b", Revision: 3, Version: 1, Events: []string{"CoinsPut"}, Durability: es.Fast},
	}
	if diff := cmp.Diff(want, first); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	for name, again := range map[string]*executor{"in the same process": x, "in a new one": newTestExecutor(t, log)} {
		if repeated, err := again.executeAll(t.Context(), move(t, "m-1", "a", "b", 3)); err != nil || !cmp.Equal(first, repeated) {
			t.Errorf("%s: %v\n%s", name, err, cmp.Diff(first, repeated))
		}
		for what, other := range map[string][]es.Request{
			"another sum":       move(t, "m-1", "a", "b", 2),
			"one other stream":  move(t, "m-1", "a", "c", 3),
			"the other way":     move(t, "m-1", "b", "a", 3),
			"one of them alone": move(t, "m-1", "a", "b", 3)[:1],
		} {
			var invalid *es.InvalidError
			if _, err := again.executeAll(t.Context(), other); !errors.As(err, &invalid) || invalid.Code != "id_reused" || Status(err) != 422 {
				t.Errorf("%s, %s under the same id: %v", name, what, err)
			}
		}
	}
	if a, b := coinsIn(t, log, "a"), coinsIn(t, log, "b"); a != 2 || b != 3 {
		t.Errorf("%d and %d coins, want 2 and 3", a, b)
	}
}

func TestARefusalOfOneCommandStoresNothingOfTheOthers(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x, y := newTestExecutor(t, log), newTestExecutor(t, log)
	wantOutcome(t, x.execute(t.Context(), request("a", putCoins{5}, "c-1")), es.Accepted)
	requests := move(t, "m-1", "b", "a", 3)
	requests[0], requests[1] = requests[1], requests[0] // the one that is refused comes last
	if _, err := x.executeAll(t.Context(), requests); !errors.Is(err, errTooFew) || Problem(err).Code != "too_few_coins" {
		t.Errorf("too few coins: %v", err)
	}
	version := uint64(7)
	expecting := move(t, "m-2", "a", "b", 3)
	expecting[1].Expected = &version
	if _, err := x.executeAll(t.Context(), expecting); !errors.Is(err, es.ErrConflict) || Problem(err).Code != "conflict" {
		t.Errorf("an unexpected version: %v", err)
	}
	unknown := move(t, "m-3", "a", "b", 3)
	unknown[1].Type = "PutCoin"
	if _, err := x.executeAll(t.Context(), unknown); Status(err) != 404 || !strings.Contains(err.Error(), "pot/b") {
		t.Errorf("an unknown command: %v", err)
	}
	if a, b := coinsIn(t, log, "a"), coinsIn(t, log, "b"); a != 5 || b != 0 {
		t.Errorf("%d and %d coins, want 5 and 0", a, b)
	}
	// What y decides in between is seen by x, whose states are cached.
	wantOutcome(t, y.execute(t.Context(), request("b", putCoins{3}, "c-2")), es.Accepted)
	if _, err := x.executeAll(t.Context(), move(t, "m-1", "b", "a", 3)); err != nil {
		t.Errorf("once there are enough: %v", err)
	}
}

func TestTogetherSomeMayBeUnchangedAndSomeForgotten(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	x := newTestExecutor(t, log)
	requests, err := es.Requests(es.Meta{CommandID: "m-1"}, pots.To("a", putCoins{0}), pots.To("b", putCoins{2}), pots.To("c", putCoins{3}))
	if err != nil {
		t.Fatal(err)
	}
	outcomes := func(x *executor) (kinds []es.OutcomeKind) {
		t.Helper()
		replies, err := x.executeAll(t.Context(), append([]es.Request{}, requests...))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range replies {
			kinds = append(kinds, r.Outcome)
		}
		return kinds
	}
	want := []es.OutcomeKind{es.Unchanged, es.Accepted, es.Accepted}
	if diff := cmp.Diff(want, outcomes(x)); diff != "" {
		t.Error(diff)
	}
	put(t, x, "b", 1, rememberedCommands)
	// b has forgotten the command; that c remembers is enough for it not to take effect again.
	for _, x := range []*executor{x, newTestExecutor(t, log)} {
		if diff := cmp.Diff([]es.OutcomeKind{es.Unchanged, es.Unchanged, es.Accepted}, outcomes(x)); diff != "" {
			t.Error(diff)
		}
	}
	if b := coinsIn(t, log, "b"); b != 2+rememberedCommands {
		t.Errorf("%d coins, want %d", b, 2+rememberedCommands)
	}
}

func TestWritersOfPairsInTwoProcessesNeitherStopNorLoseACoin(t *testing.T) {
	t.Parallel()
	log := memoryLog(t)
	nodes := []*executor{newTestExecutor(t, log), newTestExecutor(t, log)}
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		wantOutcome(t, nodes[0].execute(t.Context(), request(id, putCoins{100}, "begin")), es.Accepted)
	}
	var wg sync.WaitGroup
	for i := range 90 {
		requests := move(t, fmt.Sprintf("m-%d", i), ids[i%3], ids[(i+1+i%2)%3], 1)
		wg.Go(func() {
			if _, err := nodes[i%2].executeAll(context.Background(), requests); err != nil {
				t.Errorf("move %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, id := range ids {
		sum += coinsIn(t, log, id)
	}
	if sum != 300 {
		t.Errorf("%d coins, want 300", sum)
	}
}

func TestExecuteAllOnAServer(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Durability = es.Durable })
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{5}, "")), es.Accepted)
	replies, err := e.ExecuteAll(t.Context(), move(t, "", "a", "b", 3)...)
	if err != nil || len(replies) != 2 || replies[0].CommandID != replies[1].CommandID || replies[1].Revision != replies[0].Revision+1 || replies[0].Durability != es.Durable {
		t.Fatalf("%+v, %v", replies, err)
	}
	for id, want := range map[string]int{"a": 2, "b": 3} {
		answer, _, err := e.Ask(t.Context(), potByID, potParams{id}, replies[1].Revision)
		if err != nil || answer.(potAnswer).Coins != want {
			t.Errorf("read model of %s: %+v, %v; want %d coins", id, answer, err, want)
		}
		// As of either revision both have happened.
		if at, err := e.StateAt(t.Context(), pots.Stream(id), es.Range{UpTo: replies[0].Revision}); err != nil || at.State.(pot).Coins != want {
			t.Errorf("%s as of revision %d: %+v, %v; want %d coins", id, replies[0].Revision, at, err, want)
		}
	}
	for name, requests := range map[string][]es.Request{
		"none":                {},
		"two of one stream":   move(t, "", "a", "a", 1),
		"two ids":             append(move(t, "m-1", "a", "b", 1), move(t, "m-2", "c", "d", 1)[0]),
		"an id of the engine": move(t, "ms-1", "a", "b", 1),
		"a forbidden stream":  move(t, "", "a", "*", 1),
	} {
		if _, err := e.ExecuteAll(t.Context(), requests...); Status(err) != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
	closeEngine(t, e)
	fast := s.start(t)
	if _, err := fast.ExecuteAll(t.Context(), move(t, "", "a", "b", 1)...); err == nil || Problem(err).Code != "not_atomic" {
		t.Errorf("in fast mode: %v", err)
	}
}

// TestBatchesNeverEndBetweenCommitsStoredTogether reads with batches smaller than what belongs together.
func TestBatchesNeverEndBetweenCommitsStoredTogether(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Durability, c.Roles = es.Durable, []Role{RoleCommands} })
	requests, err := es.Requests(es.Meta{}, pots.To("a", putCoins{1}), pots.To("b", putCoins{1}), pots.To("c", putCoins{1}))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{1}, "")), es.Accepted)
		if _, err := e.ExecuteAll(t.Context(), requests...); err != nil {
			t.Fatal(err)
		}
	}
	sub := NewBatchSubscriber(BatchConfig{
		JetStream: s.js, Stream: natsstore.EventsStream, Durable: "together", Size: 2, Next: func() uint64 { return 1 },
		Decode:  func(m natsstore.Message, _ uint64) (any, error) { return m.Subject, nil },
		Missing: func(sequence uint64) (any, error) { return nil, fmt.Errorf("sequence %d is missing", sequence) },
	})
	messages, err := sub.Subscribe(t.Context(), "events.>")
	if err != nil {
		t.Fatal(err)
	}
	for last := uint64(0); last < 12; {
		m := <-messages
		last = BatchFrom(m.Context()).Last
		if last%4 > 1 {
			t.Errorf("a batch ends with revision %d", last)
		}
		m.Ack()
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
}
