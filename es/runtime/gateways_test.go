package runtime

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/millstream-es/millstream/es"
)

// A process that dies after it has recorded an answer and before it has acknowledged the event gets the event again.
func TestWhatTheLogHoldsAnAnswerToIsNotDeliveredAgain(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	var asked atomic.Int64
	gateway := es.Gateway{
		Name: "mint", Interest: es.Interest{Handles: []es.Event{coinsPut{}}, Ignores: []es.Event{coinsTaken{}}},
		Answers: []es.Event{coinsTaken{}},
		Deliver: func(_ context.Context, r es.Recorded, _ string) ([]es.Effect, error) {
			asked.Add(1)
			return []es.Effect{pots.To(r.Stream.ID, takeCoins{Coins: 1})}, nil
		},
	}
	e := s.start(t, func(c *Config) { c.Domain.Gateways = []es.Gateway{gateway} })
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{3}, "")), es.Accepted)
	history := func() []es.Recorded {
		h, err := e.log.Load(t.Context(), pots.Stream("a"), es.Range{})
		if err != nil {
			t.Fatal(err)
		}
		return h.Events
	}
	eventually(t, "the answer", func() bool { return len(history()) == 2 })
	wantOutcome(t, e.Execute(t.Context(), request("a", takeCoins{Coins: 1}, "")), es.Accepted) // nobody's answer
	again := message.NewMessage("again", nil)
	again.SetContext(t.Context())
	unanswered := history()[0]
	if err := e.deliver(again, gateway, unanswered); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("an answered event was delivered %d times", n)
	}
	unanswered.ID = "another/1"
	if done, err := e.answered(t.Context(), gateway, unanswered); done || err != nil {
		t.Errorf("another event of the stream counts as answered: %t, %v", done, err)
	}
}

// What has left the house cannot be taken back: the event that asked for it must not be lost with the power then.
func TestAGatewayDeliversOnlyWhatIsSynced(t *testing.T) {
	t.Parallel()
	s := syncedServer(t)
	type seen struct{ event, synced uint64 }
	delivered := make(chan seen, 1)
	var engine atomic.Pointer[Engine]
	gateway := es.Gateway{
		Name: "mint", Interest: es.Interest{Handles: []es.Event{coinsPut{}}, Ignores: []es.Event{coinsTaken{}}},
		Deliver: func(_ context.Context, r es.Recorded, _ string) ([]es.Effect, error) {
			delivered <- seen{uint64(r.Revision), engine.Load().durability.synced.Load()}
			return nil, nil
		},
	}
	e := s.start(t, func(c *Config) {
		c.Syncer = s.Syncer()
		c.Domain.Gateways = []es.Gateway{gateway}
		c.Roles = []Role{RoleGateways}
	})
	engine.Store(e)
	meta := es.Meta{Stream: pots.Stream("a"), CommandID: "c-1"}
	// As by a process that dies before it syncs what it has appended.
	if _, err := e.log.Append(t.Context(), es.Commit{Stream: meta.Stream, Events: []es.Recorded{{Event: coinsPut{1}, Meta: meta, ID: "c-1/1", Version: 1}}}); err != nil {
		t.Fatal(err)
	}
	if d := <-delivered; d.synced < d.event {
		t.Errorf("the event at revision %d was delivered when only %d was synced", d.event, d.synced)
	}
}
