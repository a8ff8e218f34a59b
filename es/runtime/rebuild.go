package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/readmodel"
)

// rebuildSubject is where nodes hear that a read model is to be built anew. Only the engine's account has it.
const rebuildSubject = "ops.projections.rebuild"

// rebuildStep is one line of a node's report. Nodes report at least every rebuildPulse.
type rebuildStep struct {
	Node  string      `json:"node"`
	Done  es.Revision `json:"done"`
	Total es.Revision `json:"total"`
	Ended bool        `json:"ended,omitempty"`
	Error string      `json:"error,omitempty"`
}

const (
	rebuildPulse   = 500 * time.Millisecond
	rebuildSilence = 15 * time.Second // a node that says nothing for so long is given up
)

func (e *Engine) startOps() error {
	sub, err := e.conn.Subscribe(rebuildSubject, func(m *nats.Msg) {
		e.background.Go(func() { e.answerRebuild(m) })
	})
	e.ops = sub
	return err
}

func (e *Engine) answerRebuild(m *nats.Msg) {
	report := func(s rebuildStep) {
		s.Node = e.node
		body, err := json.Marshal(s)
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			e.metrics.failure(fmt.Errorf("report a rebuild: %w", err))
		}
	}
	name := string(m.Data)
	p := e.projections[name]
	if p == nil {
		report(rebuildStep{Ended: true, Error: fmt.Sprintf("there is no projector %q here", name)})
		return
	}
	last := rebuildStep{Ended: true}
	err := p.rebuild(e.stopped, func(done, total es.Revision) {
		last.Done, last.Total = done, total
		report(rebuildStep{Done: done, Total: total})
	})
	if err != nil {
		last.Error = err.Error()
	}
	report(last)
}

// rebuild builds the read model anew beside the serving one and swaps it in when it has caught up.
func (p *projection) rebuild(ctx context.Context, progress func(done, total es.Revision)) error {
	if !p.rebuilding.TryLock() {
		return fmt.Errorf("projector %s is being rebuilt already", p.name())
	}
	defer p.rebuilding.Unlock()
	e := p.engine
	fresh, err := readmodel.Build(e.modelDir(), p.model.Projector())
	if err != nil {
		return err
	}
	err = p.fill(ctx, fresh, progress)
	if err != nil {
		return errors.Join(fmt.Errorf("rebuild %s: %w", p.name(), err), fresh.Discard())
	}
	return nil
}

// fill replays the log into fresh until it is as far as the serving model, then swaps.
func (p *projection) fill(ctx context.Context, fresh *readmodel.Model, progress func(done, total es.Revision)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	e := p.engine
	fault := make(chan error, 1)
	sub := NewBatchSubscriber(BatchConfig{
		JetStream: e.js, Stream: natsstore.EventsStream,
		Durable: fmt.Sprintf("rebuild-%s-%s", fresh.Projector().Key(), e.node), Size: 2000, Inactive: time.Minute,
		Next:    func() uint64 { revision, _ := fresh.Checkpoint(); return uint64(revision) + 1 },
		Decode:  func(m jetstream.Msg) (any, error) { return e.decode(m) },
		Missing: func(sequence uint64) (any, error) { return e.missing(sequence) },
		Fault: func(err error) {
			if err != nil {
				select {
				case fault <- err:
				default:
				}
			}
		},
	})
	batches, err := sub.Subscribe(ctx, "events.>")
	if err != nil {
		return err
	}
	defer sub.Close()
	pulse := time.NewTicker(rebuildPulse)
	defer pulse.Stop()
	for {
		total, _ := p.model.Checkpoint()
		done, _ := fresh.Checkpoint()
		if done >= total {
			err := p.model.Swap(fresh)
			if err == nil {
				progress(done, total)
				return nil
			}
			if now, _ := p.model.Checkpoint(); now <= done {
				return err
			}
			continue // the serving model moved on in between: catch up with it
		}
		select {
		case m := <-batches:
			if err := applyTo(ctx, fresh, m); err != nil {
				m.Nack()
				return err
			}
			m.Ack()
		case <-pulse.C:
			progress(done, total)
		case err := <-fault:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func applyTo(ctx context.Context, model *readmodel.Model, m *message.Message) error {
	batch, bad := gather(BatchFrom(m.Context()))
	if batch.Last > 0 {
		if err := model.Apply(ctx, batch); err != nil {
			return err
		}
	}
	return bad
}

// Rebuild asks every running node to build a read model anew, and returns when all have. Queries are answered from
// the old one meanwhile. Errors: no node answers; a node fails or falls silent.
func Rebuild(ctx context.Context, nc *nats.Conn, projector string, progress func(node string, done, total es.Revision)) error {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection is about to go as well
	if err := nc.PublishRequest(rebuildSubject, inbox, []byte(projector)); err != nil {
		return err
	}
	nodes := map[string]bool{} // → ended
	var errs []error
	gathering := time.Now().Add(2 * time.Second) // nodes make themselves known in this time
	for {
		open := len(nodes) == 0
		for _, ended := range nodes {
			open = open || !ended
		}
		if !open && time.Now().After(gathering) {
			return errors.Join(errs...)
		}
		wait := rebuildSilence
		if !open || len(nodes) == 0 {
			wait = time.Until(gathering) + time.Millisecond
		}
		step, err := nextStep(ctx, sub, wait)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, nats.ErrNoResponders):
			return es.Transient(errors.New("no process with the projectors' role is running there"))
		case errors.Is(err, context.DeadlineExceeded) && !open:
			return errors.Join(errs...)
		case errors.Is(err, context.DeadlineExceeded):
			return es.Transient(errors.Join(append(errs, fmt.Errorf("no word from the rebuilding nodes for %s", wait.Round(time.Second)))...))
		case err != nil:
			return err
		}
		nodes[step.Node] = step.Ended
		if step.Error != "" {
			errs = append(errs, fmt.Errorf("node %s: %s", step.Node, step.Error))
		} else {
			progress(step.Node, step.Done, step.Total)
		}
	}
}

func nextStep(ctx context.Context, sub *nats.Subscription, wait time.Duration) (step rebuildStep, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return step, err
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return step, nats.ErrNoResponders
	}
	return step, json.Unmarshal(m.Data, &step)
}
