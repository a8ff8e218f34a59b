package runtime

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// BeginAfter makes a saga's or gateway's queue ("saga-<name>", "gateway-<name>") begin after a revision, for a log that
// was restored: what happened long ago is not to be acted on again. The queue is created when absent; no engine may be
// running.
func BeginAfter(ctx context.Context, js jetstream.JetStream, queue string, after es.Revision) error {
	r := &laneRun{cfg: LaneConfig{JetStream: js, Stream: natsstore.EventsStream, Durable: queue}.withDefaults(), topic: "events.>", ctx: ctx}
	if err := r.bind(); err != nil {
		return err
	}
	if after == 0 {
		return nil
	}
	if _, err := js.ResetConsumerToSequence(ctx, natsstore.EventsStream, queue, uint64(after)+1); err != nil {
		return es.Transient(fmt.Errorf("queue %s: begin after revision %d: %w", queue, after, err))
	}
	return nil
}
