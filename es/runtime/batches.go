package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// BatchConfig describes a stream read in batches, in order and without gaps. JetStream, Stream, Durable, Next, Decode
// and Missing must be set.
type BatchConfig struct {
	JetStream jetstream.JetStream
	Conn      *nats.Conn // that messages come on; default JetStream's. It may have natsstore.RawHeaders
	Stream    string
	Durable   string                                                  // the consumer's name; made anew at every start
	Forget    forgetFunc                                              // of the embedded server; nil: none is embedded
	Next      func() uint64                                           // the sequence to begin with; the reader's own checkpoint says it
	Size      int                                                     // messages in a batch, to begin with; default 500
	Most      int                                                     // messages in a batch while far behind; default 8 times Size
	Decode    func(m natsstore.Message, sequence uint64) (any, error) // runs ahead of the handler, on its own goroutine
	Missing   func(sequence uint64) (any, error)                      // reads one message from the leader, when a gap shows
	Fault     func(error)                                             // hears of errors being retried and, with nil, of their end
	Inactive  time.Duration                                           // the server forgets an unused consumer after this; default 1 h
	Pause     time.Duration                                           // before a batch is handed out again, growing to 100 times it; default 50 ms
	Grace     time.Duration                                           // Close waits this long for the handler; default 15 s
}

// Batch is what one Watermill message of a BatchSubscriber stands for.
type Batch struct {
	Items   []any  // what Decode returned, in the order of the stream and without a gap
	Whole   []bool // beside Items: no atomic batch of the stream goes on after this one
	First   uint64
	Last    uint64
	Closing <-chan struct{} // closed when the reader stops: a handler that waits for something else gives up
}

type batchKey struct{}

// BatchFrom returns the batch of a message's context.
func BatchFrom(ctx context.Context) *Batch {
	b, _ := ctx.Value(batchKey{}).(*Batch)
	return b
}

// BatchSubscriber is a Watermill Subscriber that hands out one message per batch: the next batch is collected and
// decoded while the handler works on the last one. A batch ends when no more has come (no lingering; far behind, what
// fills it is on its way and waited for), when it is full, but never between commits that were stored together. Not
// acknowledged, the same batch comes again.
type BatchSubscriber struct {
	cfg    BatchConfig
	mu     sync.Mutex
	closed bool
	stops  []context.CancelFunc
	wg     sync.WaitGroup
}

// NewBatchSubscriber makes a subscriber; nothing happens before Subscribe.
func NewBatchSubscriber(cfg BatchConfig) *BatchSubscriber {
	cfg.Size = orDefault(cfg.Size, 500)
	cfg.Most = max(cfg.Size, orDefault(cfg.Most, 8*cfg.Size))
	cfg.Inactive = orDefault(cfg.Inactive, time.Hour)
	cfg.Pause = orDefault(cfg.Pause, 50*time.Millisecond)
	cfg.Grace = orDefault(cfg.Grace, 15*time.Second)
	if cfg.Conn == nil {
		cfg.Conn = cfg.JetStream.Conn()
	}
	if cfg.Fault == nil {
		cfg.Fault = func(error) {}
	}
	return &BatchSubscriber{cfg: cfg}
}

// Subscribe reads the whole stream, whatever the topic: a narrower one would show as gaps, and a filter that lets all
// pass costs the server more than the reading (measured: a third of all time in a catch-up).
func (s *BatchSubscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the subscriber is closed")
	}
	ctx, stop := context.WithCancel(ctx)
	s.stops = append(s.stops, stop)
	out := make(chan *message.Message)
	r := &batchRun{cfg: s.cfg, ctx: ctx, batches: make(chan *Batch)}
	r.size.Store(int64(s.cfg.Size))
	if err := r.open(); err != nil {
		stop()
		return nil, err
	}
	s.wg.Go(func() { defer close(r.batches); r.collect() })
	s.wg.Go(func() { defer close(out); r.deliver(out) })
	return out, nil
}

// Close stops reading and waits for the batch in the handler.
func (s *BatchSubscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, stop := range s.stops {
		stop()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

type batchRun struct {
	cfg     BatchConfig
	ctx     context.Context
	next    uint64
	in      *flow
	lost    error // why in gives no more; told when what it gave is handed on
	batches chan *Batch
	size    atomic.Int64 // messages in a batch; adapt changes it
}

// open makes the consumer anew at the reader's own position: it, not the server, knows what was applied.
func (r *batchRun) open() error {
	r.next = r.cfg.Next()
	if err := r.cfg.JetStream.DeleteConsumer(r.ctx, r.cfg.Stream, r.cfg.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("consumer %s: %w", r.cfg.Durable, err)
	}
	err := openConsumer(r.ctx, r.cfg.JetStream, r.cfg.Forget, r.cfg.Stream, jetstream.ConsumerConfig{
		Durable:       r.cfg.Durable,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   r.next,
		// The checkpoint says what was applied. A server that waits for acknowledgements keeps book of every message, in a
		// cluster by way of its log.
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: r.cfg.Inactive,
	})
	if err != nil {
		return err
	}
	r.lost = nil
	r.in = newFlow(newPuller(r.cfg.Conn, r.cfg.Stream, r.cfg.Durable, "", r.cfg.Most))
	return nil
}

// collect gathers batches; a lost consumer is opened again at the next sequence.
func (r *batchRun) collect() {
	defer func() { r.in.close() }()
	backoff := newBackoff(50*time.Millisecond, 5*time.Second)
	var following uint64 // the sequence after the last one handed on; 0: ask the reader
	for r.ctx.Err() == nil {
		b, err := r.gather()
		if err == nil {
			select {
			case r.batches <- b:
				following = b.Last + 1
			case <-r.ctx.Done():
				return
			}
			backoff.reset()
			r.cfg.Fault(nil)
			continue
		}
		if r.ctx.Err() != nil {
			return
		}
		r.in.close()
		r.cfg.Fault(fmt.Errorf("reader %s: %w", r.cfg.Durable, err))
		for backoff.wait(r.ctx) {
			if err := r.open(); err != nil {
				r.cfg.Fault(err)
				continue
			}
			// What was handed on but not yet applied is delivered again, and skipped here.
			r.next = max(r.next, following)
			r.cfg.Fault(nil)
			break
		}
	}
}

// gather collects a batch: what has come, but all that it holds when the server says that as much is on its way.
func (r *batchRun) gather() (*Batch, error) {
	if r.lost != nil {
		return nil, r.lost
	}
	size := int(r.size.Load())
	b := &Batch{Closing: r.ctx.Done()}
	inside := false   // commits that were stored together
	var behind uint64 // so many were waiting at the server
	for room := size; room > 0 || inside; room = size - len(b.Items) {
		read := r.in.waiting
		if len(b.Items) == 0 || inside || behind >= uint64(room) {
			read = r.in.next
		}
		m, err := read(r.ctx)
		if err != nil && (len(b.Items) == 0 || inside || r.ctx.Err() != nil) {
			return nil, err
		}
		if err != nil || m == nil {
			r.lost = err  // told when this batch has been handed out
			return b, nil //nolint:nilerr // see above
		}
		var sequence uint64
		if sequence, behind, err = deliveryOf(m.Reply); err != nil {
			return nil, err
		}
		if sequence < r.next {
			continue
		}
		if b.Items == nil && behind > 0 {
			n := int(min(uint64(size), behind+1))
			b.Items, b.Whole = make([]any, 0, n), make([]bool, 0, n)
		}
		for ; r.next < sequence; r.next++ {
			item, err := r.cfg.Missing(r.next)
			if errors.Is(err, es.ErrTransient) {
				return nil, err // read again later; only what stays so travels with the batch
			}
			b.add(r.next, item, err, !inside)
		}
		message := natsstore.NewMessage(m)
		item, err := r.cfg.Decode(message, sequence)
		inside = message.MoreFollow()
		b.add(sequence, item, err, !inside)
		r.next = sequence + 1
	}
	return b, nil
}

// add appends an item; one that cannot be decoded travels as its error, for the handler to judge in its place.
func (b *Batch) add(sequence uint64, item any, err error, whole bool) {
	if err != nil {
		item = err
	}
	if len(b.Items) == 0 {
		b.First = sequence
	}
	b.Items, b.Whole, b.Last = append(b.Items, item), append(b.Whole, whole), sequence
}

// A handler should take about this long: much longer, and what is read becomes visible late; much shorter, and the
// cost of a transaction is shared by too few.
const batchTime = 40 * time.Millisecond

// adapt makes batches larger while full ones are handled quickly, and smaller when they take long.
func (r *batchRun) adapt(n int, took time.Duration) {
	size := int(r.size.Load())
	switch {
	case took > 2*batchTime:
		size = max(size/2, min(r.cfg.Size, 64))
	case took < batchTime/2 && n >= size:
		size = min(2*size, r.cfg.Most)
	}
	r.size.Store(int64(size))
}

// attempt hands a batch out once; its context ends with the handler's answer. When reading has been stopped it waits
// no longer than Grace. open is false when the reader closed before anybody took it.
func (r *batchRun) attempt(b *Batch, out chan<- *message.Message) (handled, open bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	defer cancel()
	m := message.NewMessage(watermill.NewShortUUID(), nil)
	m.SetContext(context.WithValue(ctx, batchKey{}, b))
	return offer(r.ctx, out, m, r.cfg.Grace)
}

func (r *batchRun) deliver(out chan<- *message.Message) {
	for b := range r.batches {
		backoff := newBackoff(r.cfg.Pause, 100*r.cfg.Pause)
		for handled := false; !handled; {
			var open bool
			begun := time.Now()
			if handled, open = r.attempt(b, out); handled {
				r.adapt(len(b.Items), time.Since(begun))
			}
			if !open || !handled && !backoff.wait(r.ctx) {
				return
			}
		}
	}
}
