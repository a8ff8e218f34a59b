package runtime

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pinGroup is the priority group in which a queue's owner is pinned.
const pinGroup = "owner"

// uuidHeader is where watermill-nats keeps a message's UUID.
const uuidHeader = "_watermill_message_uuid"

// LaneConfig describes a durable queue worked off in keyed lanes.
type LaneConfig struct {
	JetStream jetstream.JetStream
	Stream    string
	Durable   string        // the consumer's name; created when absent
	Forget    forgetFunc    // of the embedded server; nil: none is embedded
	Lanes     int           // keys in work at once; default 64
	Pending   int           // messages held at once; default 1024
	AckWait   time.Duration // default 1 min; held messages are renewed
	PinTTL    time.Duration // a silent owner is replaced after this; default 5 s
	Pause     time.Duration // before a message is handed out again, growing to 250 times it; default 20 ms
	Grace     time.Duration // Close waits this long for handlers; default 15 s
	// Keys says in which lanes a message is worked off, one after the other within each; none: it is acknowledged
	// unseen. What it returns beside travels to the handler in Delivery.Payload. Default: one lane per subject.
	Keys func(m *nats.Msg, sequence uint64) (keys []string, payload any)
	// TakeOver is started when this process has become the owner, beside the first deliveries.
	TakeOver func(ctx context.Context)
	// Fault hears of errors that are being retried and, with nil, of their end.
	Fault func(error)
}

func (c LaneConfig) withDefaults() LaneConfig {
	c.Lanes = orDefault(c.Lanes, 64)
	c.Pending = orDefault(c.Pending, 1024)
	c.AckWait = orDefault(c.AckWait, time.Minute)
	c.PinTTL = orDefault(c.PinTTL, 5*time.Second)
	c.Pause = orDefault(c.Pause, 20*time.Millisecond)
	c.Grace = orDefault(c.Grace, 15*time.Second)
	if c.Keys == nil {
		c.Keys = func(m *nats.Msg, _ uint64) ([]string, any) { return []string{m.Subject}, nil }
	}
	if c.TakeOver == nil {
		c.TakeOver = func(context.Context) {}
	}
	if c.Fault == nil {
		c.Fault = func(error) {}
	}
	return c
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// Delivery is what a handler can ask about the message it got, from its context.
type Delivery struct {
	Subject  string
	Sequence uint64
	Time     time.Time // when the stream stored it
	Header   nats.Header
	Key      string // of the lane
	Attempt  int    // 1 at first
	Payload  any    // what Keys returned

	retrial *retrial // not nil: this is a dead letter's original, tried again
}

type deliveryKey struct{}

// DeliveryFrom returns the delivery of a message's context.
func DeliveryFrom(ctx context.Context) Delivery {
	d, _ := ctx.Value(deliveryKey{}).(Delivery)
	return d
}

// LaneSubscriber is a Watermill Subscriber over a pinned durable pull consumer: one message in flight per key, many
// keys at once. A message that is not acknowledged by its handler is handed out again in place, so that the order
// within a key holds. One process owns the queue at a time; a new owner resets the consumer to its ack floor before
// it begins, so that order survives a crash. Pins do not fence: what handlers write must be guarded.
type LaneSubscriber struct {
	cfg    LaneConfig
	mu     sync.Mutex
	runs   []*laneRun
	closed bool
}

// NewLaneSubscriber makes a subscriber; nothing happens before Subscribe.
func NewLaneSubscriber(cfg LaneConfig) *LaneSubscriber {
	return &LaneSubscriber{cfg: cfg.withDefaults()}
}

// Subscribe creates the consumer when absent, with topic as its filter, and begins.
func (s *LaneSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the subscriber is closed")
	}
	runCtx, stop := context.WithCancel(ctx)
	r := &laneRun{
		cfg: s.cfg, topic: topic,
		puller: newPuller(s.cfg.JetStream.Conn(), s.cfg.Stream, s.cfg.Durable, pinGroup, mostPulled),
		ctx:    runCtx, stop: stop,
		out:  make(chan *message.Message),
		done: make(chan struct{}),
		slot: make(chan struct{}, s.cfg.Lanes),
		held: map[uint64]*heldMsg{}, lanes: map[string][]*laneWork{},
		freed: make(chan struct{}, 1),
	}
	if err := r.bind(); err != nil {
		stop()
		return nil, err
	}
	s.runs = append(s.runs, r)
	go r.run()
	return r.out, nil
}

// Close stops taking messages and waits, up to Grace, for those in handlers.
func (s *LaneSubscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	runs := s.runs
	s.mu.Unlock()
	for _, r := range runs {
		r.stop()
	}
	for _, r := range runs {
		<-r.done
	}
	return nil
}

// newMessage makes a Watermill message of a stored one. Headers that direct the server (Nats-…) stay behind: on
// another publish they would be orders.
func newMessage(header nats.Header, data []byte, sequence uint64) *message.Message {
	id := header.Get(uuidHeader)
	if id == "" {
		id = strconv.FormatUint(sequence, 10)
	}
	m := message.NewMessage(id, data)
	for k, v := range header {
		if len(v) > 0 && k != uuidHeader && !strings.HasPrefix(strings.ToLower(k), "nats-") {
			m.Metadata.Set(k, v[0])
		}
	}
	return m
}
