package runtime

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	Lanes     int           // keys in work at once; default 64
	Pending   int           // messages held at once; default 1024
	AckWait   time.Duration // default 1 min; held messages are renewed
	PinTTL    time.Duration // a silent owner is replaced after this; default 5 s
	Pause     time.Duration // before a message is handed out again, growing to 250 times it; default 20 ms
	Grace     time.Duration // Close waits this long for handlers; default 15 s
	// Keys says in which lanes a message is worked off, one after the other within each; none: it is acknowledged
	// unseen. What it returns beside travels to the handler in Delivery.Payload. Default: one lane per subject.
	Keys func(m *nats.Msg) (keys []string, payload any)
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
		c.Keys = func(m *nats.Msg) ([]string, any) { return []string{m.Subject}, nil }
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
		puller: newPuller(s.cfg.JetStream.Conn(), s.cfg.Stream, s.cfg.Durable),
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

type heldMsg struct {
	msg  *nats.Msg
	left int // lanes that have not finished with it
}

type laneWork struct {
	sequence uint64
	header   nats.Header
	subject  string
	data     []byte
	time     time.Time
	payload  any
}

type laneRun struct {
	cfg     LaneConfig
	topic   string
	puller  *puller
	ctx     context.Context
	stop    context.CancelFunc
	out     chan *message.Message
	done    chan struct{}
	slot    chan struct{}
	freed   chan struct{} // signalled when a held message is let go
	workers sync.WaitGroup
	pin     string // under which this process owns the queue
	heir    bool   // nobody owned it when last looked at, and TakeOver has run
	faulty  atomic.Bool

	mu    sync.Mutex
	held  map[uint64]*heldMsg
	lanes map[string][]*laneWork // waiting behind the one in work; a key present has a worker
}

func (r *laneRun) bind() error {
	_, err := r.cfg.JetStream.CreateOrUpdateConsumer(r.ctx, r.cfg.Stream, jetstream.ConsumerConfig{
		Durable:        r.cfg.Durable,
		FilterSubject:  r.topic,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        r.cfg.AckWait,
		MaxAckPending:  r.cfg.Pending * 2,
		MaxDeliver:     -1,
		PriorityPolicy: jetstream.PriorityPolicyPinned,
		PriorityGroups: []string{pinGroup},
		PinnedTTL:      r.cfg.PinTTL,
	})
	if err != nil {
		return fmt.Errorf("consumer %s on %s: %w", r.cfg.Durable, r.cfg.Stream, err)
	}
	return nil
}

func (r *laneRun) run() {
	defer close(r.done)
	go r.renew()
	backoff := newBackoff(50*time.Millisecond, 2*time.Second)
	for r.ctx.Err() == nil {
		if err := r.fetch(); err != nil && r.ctx.Err() == nil {
			r.fault(err)
			backoff.wait(r.ctx)
			if err := r.bind(); err != nil { // the consumer may have been deleted
				r.fault(err)
			}
			continue
		}
		backoff.reset()
		r.fault(nil)
	}
	r.finish()
}

func (r *laneRun) fault(err error) {
	if err == nil && !r.faulty.Swap(false) {
		return
	}
	if err != nil {
		r.faulty.Store(true)
		err = fmt.Errorf("queue %s: %w", r.cfg.Durable, err)
	}
	r.cfg.Fault(err)
}

// finish lets handlers end, gives the pin back so that the next owner need not wait, and closes the channel.
func (r *laneRun) finish() {
	ended := make(chan struct{})
	go func() { r.workers.Wait(); close(ended) }()
	if err := r.puller.abandon(); err != nil {
		r.fault(err)
	}
	r.workers.Wait() // none lasts longer than Grace, but for a sweep, which ends with r.ctx
	if r.pin != "" {
		ctx, cancel := detached(r.ctx, time.Second)
		defer cancel()
		if stream, err := r.cfg.JetStream.Stream(ctx, r.cfg.Stream); err == nil {
			_ = stream.UnpinConsumer(ctx, r.cfg.Durable, pinGroup) // a courtesy: the pin expires by itself
		}
	}
	close(r.out)
}

// fetch asks for as many messages as there is room for and deals them out. The wait is shorter than the pin's life,
// since only a new request keeps the pin.
func (r *laneRun) fetch() error {
	room := r.room()
	if room == 0 {
		select {
		case <-r.freed:
		case <-r.ctx.Done():
		case <-time.After(r.cfg.PinTTL / 3):
			room = 1 // keeps the pin
		}
		if room == 0 {
			return nil
		}
	}
	heard := false
	err := r.puller.pull(min(room, 256), r.cfg.PinTTL/3, r.ctx.Done(), func(m *nats.Msg) (bool, error) {
		heard = true
		mine, err := r.own(m)
		if err != nil || !mine {
			return false, err
		}
		return true, r.deal(m)
	})
	if err == nil && !heard && r.puller.pin == "" && r.ctx.Err() == nil {
		return r.inherit()
	}
	return err
}

// inherit looks after a queue that nobody owns: a pin comes only with a message, and what the last owner left
// unfinished counts as delivered until AckWait is over.
func (r *laneRun) inherit() error {
	consumer, err := r.cfg.JetStream.Consumer(r.ctx, r.cfg.Stream, r.cfg.Durable)
	if err != nil {
		return err
	}
	info := consumer.CachedInfo()
	for _, g := range info.PriorityGroups {
		if g.PinnedClientID != "" {
			r.heir = false
			return nil
		}
	}
	if info.NumAckPending > 0 {
		if _, err := r.cfg.JetStream.ResetConsumer(r.ctx, r.cfg.Stream, r.cfg.Durable); err != nil {
			return fmt.Errorf("reset to the ack floor: %w", err)
		}
	}
	if !r.heir {
		r.heir = true
		r.workers.Go(func() { r.cfg.TakeOver(r.ctx) })
	}
	return nil
}

func (r *laneRun) room() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.cfg.Pending-len(r.held))
}

// own notices when this process has just become the owner: what is waiting in the lanes is forgotten, the consumer
// goes back to its ack floor, and the message in hand comes again in its order.
func (r *laneRun) own(m *nats.Msg) (bool, error) {
	pin := m.Header.Get("Nats-Pin-Id")
	if pin == r.pin {
		return true, nil
	}
	r.mu.Lock()
	for key, waiting := range r.lanes {
		for _, w := range waiting {
			r.release(w.sequence)
		}
		r.lanes[key] = nil
	}
	r.mu.Unlock()
	if err := r.puller.abandon(); err != nil {
		return false, err
	}
	if _, err := r.cfg.JetStream.ResetConsumer(r.ctx, r.cfg.Stream, r.cfg.Durable); err != nil {
		return false, fmt.Errorf("reset to the ack floor: %w", err)
	}
	r.pin, r.puller.pin = pin, pin
	if !r.heir {
		r.workers.Go(func() { r.cfg.TakeOver(r.ctx) })
	}
	r.heir = false
	return false, nil
}

// release lets a held message go without acknowledging it. r.mu is held.
func (r *laneRun) release(sequence uint64) {
	if h := r.held[sequence]; h != nil {
		if h.left--; h.left == 0 {
			delete(r.held, sequence)
		}
	}
}

func (r *laneRun) deal(m *nats.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	sequence := meta.Sequence.Stream
	r.mu.Lock()
	if h := r.held[sequence]; h != nil {
		h.msg = m // delivered again while in work: the newest delivery is the one to acknowledge
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	keys, payload := r.cfg.Keys(m)
	if len(keys) == 0 {
		return m.Ack()
	}
	work := &laneWork{sequence: sequence, header: m.Header, subject: m.Subject, data: m.Data, time: meta.Timestamp, payload: payload}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[sequence] = &heldMsg{msg: m, left: len(keys)}
	for _, key := range keys {
		waiting, working := r.lanes[key]
		r.lanes[key] = append(waiting, work)
		if !working {
			r.workers.Go(func() { r.work(key) })
		}
	}
	return nil
}

// work is one lane: it takes the key's messages one after the other until none is left.
func (r *laneRun) work(key string) {
	for {
		r.mu.Lock()
		waiting := r.lanes[key]
		if len(waiting) == 0 || r.ctx.Err() != nil {
			delete(r.lanes, key)
			r.mu.Unlock()
			return
		}
		w := waiting[0]
		r.lanes[key] = waiting[1:]
		r.mu.Unlock()

		select {
		case r.slot <- struct{}{}:
		case <-r.ctx.Done():
			continue
		}
		handled := r.handle(key, w)
		<-r.slot
		r.settle(w, handled)
	}
}

// settle acknowledges a message once every lane is through with it.
func (r *laneRun) settle(w *laneWork, handled bool) {
	r.mu.Lock()
	h := r.held[w.sequence]
	if !handled {
		r.release(w.sequence)
		r.mu.Unlock()
		return
	}
	h.left--
	last := h.left == 0
	if last {
		delete(r.held, w.sequence)
	}
	r.mu.Unlock()
	if last {
		if err := h.msg.Ack(); err != nil {
			r.fault(fmt.Errorf("acknowledge %d: %w", w.sequence, err)) // it comes again, and handlers are idempotent
		}
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}
}

// handle hands a message out until it is acknowledged; false when closing came first.
func (r *laneRun) handle(key string, w *laneWork) bool {
	backoff := newBackoff(r.cfg.Pause, 250*r.cfg.Pause)
	for attempt := 1; ; attempt++ {
		if handled, open := r.attempt(key, w, attempt); handled || !open {
			return handled
		}
		if !backoff.wait(r.ctx) {
			return false
		}
	}
}

// attempt hands a message out once; its context ends with the handler's answer. open is false when the queue has
// closed; a handler then has Grace to answer.
func (r *laneRun) attempt(key string, w *laneWork, n int) (handled, open bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	defer cancel()
	m := newMessage(w.header, w.data, w.sequence)
	m.SetContext(context.WithValue(ctx, deliveryKey{}, Delivery{
		Subject: w.subject, Sequence: w.sequence, Time: w.time, Header: w.header, Key: key, Attempt: n, Payload: w.payload,
	}))
	select {
	case r.out <- m:
	case <-r.ctx.Done():
		return false, false
	}
	select {
	case <-m.Acked():
		return true, true
	case <-m.Nacked():
		return false, true
	case <-r.ctx.Done():
	}
	select {
	case <-m.Acked():
		return true, true
	case <-m.Nacked():
	case <-time.After(r.cfg.Grace):
	}
	return false, false
}

// renew keeps the server from delivering again what is still in work.
func (r *laneRun) renew() {
	tick := time.NewTicker(r.cfg.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		held := make([]*nats.Msg, 0, len(r.held))
		for _, h := range r.held {
			held = append(held, h.msg)
		}
		r.mu.Unlock()
		for _, m := range held {
			if err := m.InProgress(); err != nil {
				r.fault(fmt.Errorf("renew: %w", err))
				break
			}
		}
	}
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
