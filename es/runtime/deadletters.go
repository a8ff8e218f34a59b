package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// DeadLetter is a message that was put aside, as stored on `deadletters.<consumer>.<key>.<id>`. Headers are data here:
// none of them directs the server that stores this.
type DeadLetter struct {
	ID       string              `json:"id"` // the same for the same message in the same lane of the same consumer
	Consumer string              `json:"consumer"`
	Key      string              `json:"key"` // of the lane it was put aside from
	Subject  string              `json:"subject"`
	Sequence uint64              `json:"sequence"`
	Time     time.Time           `json:"time"` // when the original was stored
	Headers  map[string][]string `json:"headers,omitempty"`
	Data     json.RawMessage     `json:"data,omitempty"`  // the body, when it is JSON
	Bytes    []byte              `json:"bytes,omitempty"` // the body, when it is not
	Error    string              `json:"error"`
	Attempts int                 `json:"attempts"`
	FailedAt time.Time           `json:"failedAt"`
	Behind   string              `json:"behind,omitempty"` // never tried: it waits until this letter is settled
}

// Category is that of the aggregate the message was for, "" for a timer.
func (l DeadLetter) Category() string {
	tokens := strings.Split(l.Subject, ".")
	if len(tokens) < 3 || tokens[0] != "commands" && tokens[0] != "events" {
		return ""
	}
	return tokens[1]
}

// Body is the original's.
func (l DeadLetter) Body() []byte {
	if l.Data != nil {
		return l.Data
	}
	return l.Bytes
}

// subject is where the letter is stored.
func (l DeadLetter) subject() string { return letterSubject(l.Consumer, laneToken(l.Key), l.ID) }

func letterSubject(consumer, lane, id string) string {
	return strings.Join([]string{"deadletters", consumer, lane, id}, ".")
}

// laneToken makes one token of a subject of a lane's key.
func laneToken(key string) string {
	if strings.ContainsAny(key, "*> \t\r\n") {
		return derivedID("key", key)
	}
	return strings.ReplaceAll(key, ".", "/")
}

// deadLetters is the Watermill publisher behind the poison queue.
type deadLetters struct {
	letters *Letters
	metrics *metrics
}

// behindKey is the metadata key of the letter that a message waits behind.
const behindKey = "behind"

// Publish stores each message whole, with its error.
func (d *deadLetters) Publish(topic string, messages ...*message.Message) error {
	consumer := strings.TrimPrefix(topic, "deadletters.")
	for _, m := range messages {
		delivery := DeliveryFrom(m.Context())
		letter := DeadLetter{
			ID:       derivedID("deadletter", consumer, delivery.Key, delivery.Sequence, delivery.Time.UnixNano()),
			Consumer: consumer, Key: delivery.Key, Subject: delivery.Subject, Sequence: delivery.Sequence, Time: delivery.Time.UTC(),
			Headers: maps.Clone(delivery.Header), Attempts: delivery.Attempt,
			Error: m.Metadata.Get(middleware.ReasonForPoisonedKey), FailedAt: time.Now().UTC(),
			Behind: m.Metadata.Get(behindKey),
		}
		delete(letter.Headers, "Nats-Pin-Id") // of the delivery
		if letter.Behind != "" {
			letter.Attempts, letter.Error = 0, "waits behind "+letter.Behind
		}
		if json.Valid(m.Payload) {
			letter.Data = json.RawMessage(m.Payload)
		} else {
			letter.Bytes = m.Payload
		}
		if err := d.put(m.Context(), letter, aboutDelivery(delivery)); err != nil {
			return err
		}
	}
	return nil
}

// put stores a letter. One that waits is taken back when what it waited for has meanwhile been settled: the retry
// that did so may not have seen it.
func (d *deadLetters) put(ctx context.Context, letter DeadLetter, about []any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	isNew, settled, err := d.letters.add(ctx, letter)
	if err != nil || settled {
		return err
	}
	if letter.Behind != "" {
		first, err := d.letters.ahead(ctx, letter)
		if err != nil {
			return err
		}
		if first == "" {
			return errors.Join(es.Transient(fmt.Errorf("%s, which %s waited behind, has just been settled", letter.Behind, letter.ID)), d.letters.discard(ctx, letter))
		}
	}
	if isNew {
		d.metrics.deadLetters.WithLabelValues(letter.Consumer).Inc()
		d.metrics.log.Error("message put aside", append(about, "consumer", letter.Consumer, "subject", letter.Subject, "sequence", letter.Sequence, "deadLetter", letter.ID, "error", letter.Error)...)
	}
	return nil
}

// Close does nothing: the connection is the engine's.
func (d *deadLetters) Close() error { return nil }

// message makes the original of a letter, as a lane's handler gets it.
func (l DeadLetter) message(ctx context.Context, d Delivery) *message.Message {
	m := newMessage(nats.Header(l.Headers), l.Body(), l.Sequence)
	d.Subject, d.Sequence, d.Time, d.Header = l.Subject, l.Sequence, l.Time, nats.Header(l.Headers)
	m.SetContext(context.WithValue(ctx, deliveryKey{}, d))
	return m
}
