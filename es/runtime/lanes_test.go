package runtime

import (
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
)

// A message of two lanes may be in work in one and still wait in the other when the queue's owner gets another pin, as
// after a server's restart. What waits is then forgotten and comes again, for the lane that waited too.
func TestALaneThatStillWaitedGetsItsMessageAfterAnotherPin(t *testing.T) {
	t.Parallel()
	js, _ := universalServer(t)
	lanes := NewLaneSubscriber(LaneConfig{
		JetStream: js, Stream: "WM", Durable: "two", PinTTL: 600 * time.Millisecond, Grace: time.Second,
		Keys: func(m *nats.Msg, _ uint64) ([]string, any) { return strings.Split(string(m.Data), " "), nil },
	})
	out, err := lanes.Subscribe(t.Context(), "wm.two")
	if err != nil {
		t.Fatal(err)
	}
	defer lanes.Close()
	publish := func(keys string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), "wm.two", []byte(keys)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(key, keys string) *message.Message {
		t.Helper()
		select {
		case m := <-out:
			if got := DeliveryFrom(m.Context()).Key; got != key || string(m.Payload) != keys {
				t.Fatalf("lane %s got %q, want lane %s to get %q", got, m.Payload, key, keys)
			}
			return m
		case <-time.After(20 * time.Second):
			t.Fatalf("lane %s never got %q", key, keys)
			return nil
		}
	}
	publish("b")
	first := next("b", "b")
	publish("a b")
	half := next("a", "a b") // b waits for its turn
	stream, err := js.Stream(t.Context(), "WM")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.UnpinConsumer(t.Context(), "two", pinGroup); err != nil {
		t.Fatal(err)
	}
	publish("c") // comes behind all that came again
	next("c", "c").Ack()
	half.Ack()
	publish("a")
	next("a", "a").Ack() // so the one before has been settled
	first.Ack()
	next("b", "a b").Ack()
	eventually(t, "all to be acknowledged", func() bool {
		c, err := js.Consumer(t.Context(), "WM", "two")
		return err == nil && c.CachedInfo().AckFloor.Stream == 4
	})
}

// What one lane did is no acknowledgement for another that closing kept from it.
func TestClosingAcknowledgesNothingThatALaneLeftUndone(t *testing.T) {
	t.Parallel()
	js, _ := universalServer(t)
	lanes := NewLaneSubscriber(LaneConfig{
		JetStream: js, Stream: "WM", Durable: "two", Pause: time.Minute,
		Keys: func(*nats.Msg, uint64) ([]string, any) { return []string{"a", "b"}, nil },
	})
	out, err := lanes.Subscribe(t.Context(), "wm.two")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "wm.two", nil); err != nil {
		t.Fatal(err)
	}
	var done *message.Message
	for range 2 {
		if m := <-out; DeliveryFrom(m.Context()).Key == "a" {
			done = m
		} else {
			m.Nack() // to be tried again in a minute
		}
	}
	closed := make(chan error)
	go func() { closed <- lanes.Close() }()
	run := lanes.runs[0]
	eventually(t, "b to give up", func() bool {
		run.mu.Lock()
		defer run.mu.Unlock()
		return run.held[1].left == 1
	})
	done.Ack()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "WM", "two")
	if err != nil {
		t.Fatal(err)
	}
	if info := c.CachedInfo(); info.NumAckPending != 1 || info.AckFloor.Stream != 0 {
		t.Errorf("acknowledged up to %d with %d open, want none and the one that b did not do", info.AckFloor.Stream, info.NumAckPending)
	}
}
