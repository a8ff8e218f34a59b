package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// DeadLetter is a message that was put aside, as stored on `deadletters.<consumer>`. Headers are data here: none of
// them directs the server that stores this.
type DeadLetter struct {
	ID       string              `json:"id"` // the same for the same message of the same consumer
	Consumer string              `json:"consumer"`
	Subject  string              `json:"subject"`
	Sequence uint64              `json:"sequence"`
	Time     time.Time           `json:"time"` // when the original was stored
	Headers  map[string][]string `json:"headers,omitempty"`
	Data     json.RawMessage     `json:"data,omitempty"`  // the body, when it is JSON
	Bytes    []byte              `json:"bytes,omitempty"` // the body, when it is not
	Error    string              `json:"error"`
	Attempts int                 `json:"attempts"`
	FailedAt time.Time           `json:"failedAt"`
}

// deadLetters is the Watermill publisher behind the poison queue.
type deadLetters struct {
	js      jetstream.JetStream
	metrics *metrics
}

// Publish stores each message whole, with its error, under topic.
func (d *deadLetters) Publish(topic string, messages ...*message.Message) error {
	consumer := strings.TrimPrefix(topic, "deadletters.")
	for _, m := range messages {
		delivery := DeliveryFrom(m.Context())
		letter := DeadLetter{
			ID:       derivedID("deadletter", consumer, delivery.Sequence, delivery.Time.UnixNano()),
			Consumer: consumer, Subject: delivery.Subject, Sequence: delivery.Sequence, Time: delivery.Time.UTC(),
			Headers: delivery.Header, Attempts: delivery.Attempt,
			Error: m.Metadata.Get(middleware.ReasonForPoisonedKey), FailedAt: time.Now().UTC(),
		}
		if json.Valid(m.Payload) {
			letter.Data = json.RawMessage(m.Payload)
		} else {
			letter.Bytes = m.Payload
		}
		if err := d.store(m.Context(), topic, letter); err != nil {
			return err
		}
		d.metrics.deadLetters.WithLabelValues(consumer).Inc()
		d.metrics.log.Error("message put aside", "consumer", consumer, "subject", delivery.Subject, "sequence", delivery.Sequence, "deadLetter", letter.ID, "error", letter.Error)
	}
	return nil
}

func (d *deadLetters) store(ctx context.Context, topic string, letter DeadLetter) error {
	body, err := json.Marshal(letter)
	if err != nil {
		return es.Permanent(fmt.Errorf("dead letter %s: %w", letter.ID, err))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := d.js.Publish(ctx, topic, body, jetstream.WithMsgID(letter.ID)); err != nil {
		return es.Transient(fmt.Errorf("dead letter %s: %w", letter.ID, err))
	}
	return nil
}

// Close does nothing: the connection is the engine's.
func (d *deadLetters) Close() error { return nil }
