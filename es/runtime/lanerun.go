package runtime

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type heldMsg struct {
	msg  *nats.Msg
	left int      // lanes that have not finished with it
	gone []string // lanes that let it go while others had it in work: they take it in when it comes again
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
	next    uint64 // the consumer's own number of the delivery to come, counted from 1 since the last rewind
	busy    bool   // something was delivered since the consumer was last seen with nothing unacknowledged
	heir    bool   // nobody owned it when last looked at, and TakeOver has run
	faulty  atomic.Bool

	mu    sync.Mutex
	held  map[uint64]*heldMsg
	lanes map[string][]*laneWork // waiting behind the one in work; a key present has a worker
}

func (r *laneRun) bind() error {
	err := openConsumer(r.ctx, r.cfg.JetStream, r.cfg.Forget, r.cfg.Stream, jetstream.ConsumerConfig{
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
	return err
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
	err := r.puller.pull(min(room, mostPulled), r.cfg.PinTTL/3, r.ctx.Done(), func(m *nats.Msg) (bool, error) {
		heard = true
		mine, err := r.own(m)
		if err != nil || !mine {
			return false, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return false, err
		}
		if meta.Sequence.Consumer != r.next {
			// What was delivered in between went down with a leader or a connection. It would come again after
			// AckWait, behind what follows it.
			return false, r.rewind()
		}
		r.next++
		return true, r.deal(m)
	})
	r.busy = r.busy || heard
	if err == nil && !heard && r.ctx.Err() == nil {
		return r.lookAfter()
	}
	return err
}

// lookAfter asks, when nothing comes, whether something should. A pin comes only with a message, so a queue that
// nobody owns is inherited here; and what was delivered but reached nobody (an owner that died, an answer that was
// lost) counts as delivered until AckWait is over, and is asked for again.
func (r *laneRun) lookAfter() error {
	owner := r.puller.pin != ""
	r.mu.Lock()
	holding := len(r.held) > 0
	r.mu.Unlock()
	if owner && (holding || !r.busy) {
		return nil
	}
	consumer, err := r.cfg.JetStream.Consumer(r.ctx, r.cfg.Stream, r.cfg.Durable)
	if err != nil {
		return err
	}
	info := consumer.CachedInfo()
	for _, g := range info.PriorityGroups {
		if g.PinnedClientID != "" && !owner {
			r.heir = false
			return nil
		}
	}
	r.busy = info.NumAckPending > 0
	if r.busy && (!holding || !r.heir) {
		if err := r.rewind(); err != nil {
			return err
		}
	}
	if !owner && !r.heir {
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
			r.release(key, w.sequence)
		}
		r.lanes[key] = nil
	}
	r.mu.Unlock()
	if err := r.rewind(); err != nil {
		return false, err
	}
	r.pin, r.puller.pin = pin, pin
	if !r.heir {
		r.workers.Go(func() { r.cfg.TakeOver(r.ctx) })
	}
	r.heir = false
	return false, nil
}

// rewind brings the consumer back to its ack floor: everything unacknowledged comes again, in its order.
func (r *laneRun) rewind() error {
	if err := r.puller.abandon(); err != nil {
		return err
	}
	if _, err := r.cfg.JetStream.ResetConsumer(r.ctx, r.cfg.Stream, r.cfg.Durable); err != nil {
		return fmt.Errorf("reset to the ack floor: %w", err)
	}
	r.next = 1
	return nil
}

// release lets a lane's message go without acknowledging it. r.mu is held.
func (r *laneRun) release(key string, sequence uint64) {
	if h := r.held[sequence]; h != nil {
		h.gone = append(h.gone, key)
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
		if len(h.gone) == 0 {
			r.mu.Unlock()
			return nil
		}
	}
	r.mu.Unlock()
	keys, payload := r.cfg.Keys(m, sequence)
	if len(keys) == 0 {
		return m.Ack()
	}
	work := &laneWork{sequence: sequence, header: m.Header, subject: m.Subject, data: m.Data, time: meta.Timestamp, payload: payload}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.held[sequence]; h != nil {
		keys, h.gone = h.gone, nil
		h.left += len(keys)
	} else {
		r.held[sequence] = &heldMsg{msg: m, left: len(keys)}
	}
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
		r.settle(key, w, handled)
	}
}

// settle acknowledges a message once every lane is through with it.
func (r *laneRun) settle(key string, w *laneWork, handled bool) {
	r.mu.Lock()
	h := r.held[w.sequence]
	if !handled {
		r.release(key, w.sequence)
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
		if len(h.gone) == 0 { // else it comes again, as after an error, and handlers are idempotent
			if err := h.msg.Ack(); err != nil {
				r.fault(fmt.Errorf("acknowledge %d: %w", w.sequence, err))
			}
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
	return offer(r.ctx, r.out, m, r.cfg.Grace)
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
