package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

const (
	gatewayAttempts = 8   // then the event goes to the dead letters; with the lanes' growing pauses about 20 s
	gatewayLanes    = 512 // deliveries wait on other people's machines
)

// startGateway adds a gateway's handler: one event of one stream at a time, many streams at once.
func (e *Engine) startGateway(g es.Gateway) {
	keyOf := func(r es.Recorded) (string, error) {
		if !g.Interest.Has(r.EventType()) {
			return "", nil
		}
		return r.Stream.String(), nil
	}
	e.consume(g.Name+" gateway", "events.>", LaneConfig{
		Stream: natsstore.EventsStream, Durable: "gateway-" + g.Name,
		Keys: e.eventKeys(g.Interest, keyOf), Lanes: gatewayLanes,
	}, func(m *message.Message) error {
		events, err := DeliveryFrom(m.Context()).events()
		if err != nil {
			return err
		}
		for _, r := range events {
			if g.Interest.Has(r.EventType()) {
				if err := e.deliver(m, g, r); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// deliver does the I/O for one event and sends the answer back as commands. The idempotency key is made of stream and
// event id.
func (e *Engine) deliver(m *message.Message, g es.Gateway, r es.Recorded) (err error) {
	ctx := m.Context()
	if done, err := e.answered(ctx, g, r); done || err != nil {
		return err
	}
	// What leaves the house cannot be taken back, so the event that asks for it must survive the power.
	if err := e.durability.reach(ctx, r.Revision); err != nil {
		return fmt.Errorf("gateway %s: event %s: %w", g.Name, r.ID, err)
	}
	ctx, span := e.tracing.reaction(ctx, "gateway "+g.Name, r.Stream.String(), r)
	defer func() { span.end(err) }()
	// An event's id is unique within its stream.
	effects, err := g.Deliver(ctx, r, derivedID("delivery", g.Name, r.Stream, r.ID))
	if err != nil {
		err = fmt.Errorf("gateway %s: event %s: %w", g.Name, r.ID, err)
		if errors.Is(err, es.ErrTransient) && DeliveryFrom(ctx).Attempt >= gatewayAttempts {
			return es.Permanent(fmt.Errorf("given up after %d attempts: %s", gatewayAttempts, err.Error()))
		}
		return err
	}
	for i, effect := range effects {
		send, ok := effect.(es.Send)
		if !ok {
			return es.Permanent(fmt.Errorf("gateway %s: effect %T is not a Send", g.Name, effect))
		}
		data, err := json.Marshal(send.Command)
		if err != nil {
			return es.Permanent(fmt.Errorf("gateway %s: command %s: %w", g.Name, send.Command.CommandType(), err))
		}
		meta := es.Meta{
			Stream: send.Stream, CommandID: derivedID("gateway", g.Name, r.Stream, r.ID, i), User: gatewayUser(g),
			Correlation: r.Correlation, Causation: r.ID, Traceparent: e.tracing.parent(ctx, r.Traceparent),
		}
		reply, err := e.executeOwn(ctx, es.Request{Type: send.Command.CommandType(), Data: data, Meta: meta, Internal: true})
		if err != nil {
			return fmt.Errorf("gateway %s: %w", g.Name, err)
		}
		switch reply.Outcome {
		case es.Accepted, es.Unchanged:
		case es.RejectedReply:
			// The domain has moved on; its "no" is an answer, and the history shows why.
			e.cfg.Logger.Info("gateway's command rejected", append(about(meta, reply.Revision), "gateway", g.Name, "command", send.Command.CommandType(), "code", reply.Error.Code)...)
		default:
			return es.Permanent(fmt.Errorf("gateway %s: command %s to %s: %s: %s", g.Name, send.Command.CommandType(), reply.Stream, reply.Error.Code, reply.Error.Message))
		}
	}
	return nil
}

// answered reports whether the log says already what became of an event.
func (e *Engine) answered(ctx context.Context, g es.Gateway, r es.Recorded) (bool, error) {
	if len(g.Answers) == 0 {
		return false, nil
	}
	since, err := e.log.Load(ctx, r.Stream, es.Range{After: r.Revision})
	if err != nil {
		return false, fmt.Errorf("gateway %s: event %s: has it been answered: %w", g.Name, r.ID, err)
	}
	answers := es.Interest{Handles: g.Answers}
	return slices.ContainsFunc(since.Events, func(a es.Recorded) bool {
		return a.Causation == r.ID && a.User == gatewayUser(g) && answers.Has(a.EventType())
	}), nil
}

// gatewayUser is who stands behind a gateway's commands in the audit trail.
func gatewayUser(g es.Gateway) string { return "gateway:" + g.Name }
