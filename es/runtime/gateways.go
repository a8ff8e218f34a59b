package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

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

// deliver does the I/O for one event and sends the answer back as commands. The event's id is the idempotency key.
func (e *Engine) deliver(m *message.Message, g es.Gateway, r es.Recorded) error {
	ctx := m.Context()
	effects, err := g.Deliver(ctx, r, r.ID)
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
			Stream: send.Stream, CommandID: derivedID("gateway", g.Name, r.ID, i), User: "gateway:" + g.Name,
			Correlation: r.Correlation, Causation: r.ID, Traceparent: r.Traceparent,
		}
		reply, err := e.executeOwn(ctx, es.Request{Type: send.Command.CommandType(), Data: data, Meta: meta})
		if err != nil {
			return fmt.Errorf("gateway %s: %w", g.Name, err)
		}
		switch reply.Outcome {
		case es.Accepted, es.Unchanged:
		case es.RejectedReply:
			// The domain has moved on; its "no" is an answer, and the history shows why.
			e.cfg.Logger.Info("gateway's command rejected", "gateway", g.Name, "stream", reply.Stream, "command", send.Command.CommandType(), "code", reply.Error.Code, "at", time.Now())
		default:
			return es.Permanent(fmt.Errorf("gateway %s: command %s to %s: %s: %s", g.Name, send.Command.CommandType(), reply.Stream, reply.Error.Code, reply.Error.Message))
		}
	}
	return nil
}
