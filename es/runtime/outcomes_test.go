package runtime

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// queueOf starts an engine that works off the queue, or leaves it to wait.
func queueOf(t *testing.T, worked bool) (*testServer, *Engine) {
	t.Helper()
	s := newTestServer(t)
	return s, s.start(t, func(c *Config) {
		if !worked {
			c.Roles = []Role{RoleProjectors}
		}
	})
}

func TestTheOutcomeOfAQueuedCommandIsItsReply(t *testing.T) {
	t.Parallel()
	_, e := queueOf(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i, c := range []struct {
		command es.Command
		want    es.OutcomeKind
	}{{putCoins{2}, es.Accepted}, {takeCoins{Coins: 9}, es.RejectedReply}, {putCoins{0}, es.Unchanged}} {
		id, err := e.Enqueue(ctx, request("a", c.command, ""))
		if err != nil {
			t.Fatal(err)
		}
		reply, pending, err := e.AwaitOutcome(ctx, pots.Stream("a"), id)
		if err != nil || pending || reply.Outcome != c.want || reply.CommandID != id {
			t.Errorf("%d: got %+v, pending %v (%v)", i, reply, pending, err)
		}
		eventually(t, "the command to leave the queue", func() bool {
			again, pending, err := e.Outcome(ctx, pots.Stream("a"), id)
			return err == nil && !pending && again.Outcome == reply.Outcome && again.Revision == reply.Revision
		})
	}
}

// TestOneIDOnTwoAggregatesIsTwoQueuedCommands sends them so close to each other that the server takes a repeated
// Nats-Msg-Id for the same message sent twice.
func TestOneIDOnTwoAggregatesIsTwoQueuedCommands(t *testing.T) {
	t.Parallel()
	_, e := queueOf(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, pot := range []string{"a", "b"} {
		if _, err := e.Enqueue(ctx, request(pot, putCoins{2}, "both")); err != nil {
			t.Fatal(err)
		}
	}
	for _, pot := range []string{"a", "b"} {
		reply, pending, err := e.AwaitOutcome(ctx, pots.Stream(pot), "both")
		if err != nil || pending || reply.Outcome != es.Accepted || reply.CommandID != "both" {
			t.Errorf("pot %s: got %+v, pending %v (%v)", pot, reply, pending, err)
		}
	}
}

func TestAQueuedCommandThatExpectsAnotherVersionEndsInAConflict(t *testing.T) {
	t.Parallel()
	_, e := queueOf(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for version, want := range []es.OutcomeKind{es.Accepted, es.Conflict} {
		r := request("a", putCoins{2}, "")
		r.Expected = new(uint64)
		id, err := e.Enqueue(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		if reply, pending, err := e.AwaitOutcome(ctx, pots.Stream("a"), id); err != nil || pending || reply.Outcome != want || reply.Version != 1 {
			t.Errorf("at version %d: got %+v, pending %v (%v)", version, reply, pending, err)
		}
	}
}

func TestAWaitingCommandIsPending(t *testing.T) {
	t.Parallel()
	s, e := queueOf(t, false)
	for i := range 3 {
		if _, err := e.Enqueue(t.Context(), request("a", putCoins{1}, fmt.Sprintf("put-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, pending, err := e.Outcome(t.Context(), pots.Stream("a"), "put-2"); err != nil || !pending {
		t.Errorf("the last of three: pending %v (%v)", pending, err)
	}
	for name, stream := range map[string]es.Stream{"put-9": pots.Stream("a"), "put-1": pots.Stream("b")} {
		if _, pending, err := e.Outcome(t.Context(), stream, name); !errors.Is(err, ErrOutcomeNotFound) || pending {
			t.Errorf("%s of %s: pending %v (%v)", name, stream, pending, err)
		}
	}
	ended, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, pending, err := e.AwaitOutcome(ended, pots.Stream("a"), "put-2"); err != nil || !pending || ended.Err() == nil {
		t.Errorf("after the wait: pending %v (%v)", pending, err)
	}
	// Whoever waits hears of it when another process works the queue off.
	heard := make(chan error, 1)
	go func() {
		reply, pending, err := e.AwaitOutcome(t.Context(), pots.Stream("a"), "put-2")
		if err == nil && (pending || reply.Outcome != es.Accepted) {
			err = fmt.Errorf("got %+v, pending %v", reply, pending)
		}
		heard <- err
	}()
	s.start(t, func(c *Config) { c.DataDir = t.TempDir(); c.Roles = []Role{RoleCommands} })
	select {
	case err := <-heard:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing was heard")
	}
}

func TestAnIDIsQueuedForOneCommand(t *testing.T) {
	t.Parallel()
	s, e := queueOf(t, false)
	reused := func(when string, r es.Request, want bool) {
		t.Helper()
		_, err := e.Enqueue(t.Context(), r)
		invalid := &es.InvalidError{}
		if got := errors.As(err, &invalid) && invalid.Code == "id_reused"; got != want || err != nil && !got {
			t.Errorf("%s: %v, want id_reused: %v", when, err, want)
		}
	}
	reused("the first", request("a", putCoins{2}, "k"), false)
	reused("the same, while it waits", request("a", putCoins{2}, "k"), false)
	reused("another body, while it waits", request("a", putCoins{3}, "k"), true)
	reused("another type, while it waits", request("a", takeCoins{Coins: 2}, "k"), true)
	reused("another pot", request("b", putCoins{3}, "k"), false)
	s.start(t, func(c *Config) { c.DataDir = t.TempDir(); c.Roles = []Role{RoleCommands} })
	done := func() bool {
		_, pending, err := e.Outcome(t.Context(), pots.Stream("a"), "k")
		return err == nil && !pending
	}
	eventually(t, "an outcome", done)
	reused("the same, answered", request("a", putCoins{2}, "k"), false)
	reused("another body, answered", request("a", putCoins{3}, "k"), true)
	// Past the door, as by nats pub, the second one is refused when it is decided, and the first keeps its reply.
	eventually(t, "a dead letter", func() bool {
		s.queue(t, "commands.pot.a.PutCoins", `{"coins":7}`, "k") // more than once: the server swallows an id that it has just seen
		return len(s.letters(t, "commands")) > 0
	})
	eventually(t, "an empty queue", done)
	reply, _, err := e.Outcome(t.Context(), pots.Stream("a"), "k")
	if err != nil || reply.Outcome != es.Accepted {
		t.Errorf("the first one's outcome is now %+v (%v)", reply, err)
	}
	if _, _, err := e.Outcome(t.Context(), pots.Stream("a"), "a.b"); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("a bad id: %v", err)
	}
}

func TestAQueuedCommandIsOfWhomeverTheDoorKnows(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Dev = false })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := request("a", putCoins{2}, "by-ada")
	r.Meta.User = "ada"
	if _, err := e.Enqueue(ctx, r); err != nil {
		t.Fatal(err)
	}
	if reply, pending, err := e.AwaitOutcome(ctx, pots.Stream("a"), "by-ada"); err != nil || pending || reply.Outcome != es.Accepted {
		t.Fatalf("got %+v, pending %v (%v)", reply, pending, err)
	}
	forged := nats.NewMsg("commands.pot.a.PutCoins")
	forged.Data = []byte(`{"coins":1}`)
	forged.Header = nats.Header{HeaderCommandID: {"forged"}, HeaderUser: {"ada"}, headerVouched: {"yes"}, headerQueuedBy: {"ada"}}
	if _, err := s.js.PublishMsg(ctx, forged); err != nil {
		t.Fatal(err)
	}
	if reply, pending, err := e.AwaitOutcome(ctx, pots.Stream("a"), "forged"); err != nil || pending || reply.Outcome != es.Accepted {
		t.Fatalf("got %+v, pending %v (%v)", reply, pending, err)
	}
	history, err := e.log.Load(ctx, pots.Stream("a"), es.Range{})
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, event := range history.Events {
		users = append(users, event.User)
	}
	if fmt.Sprint(users) != "[ada queued]" {
		t.Errorf("the users are %v", users)
	}
}
