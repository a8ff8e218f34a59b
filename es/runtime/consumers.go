package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// forgetFunc takes away what the embedded server has on disk of a consumer that it could not load.
type forgetFunc func(stream, consumer string) error

// openConsumer creates a consumer, or updates it. A power cut can leave a consumer's description unreadable; the server
// then knows no such consumer, and refuses a new one of that name or begins it where the old one was, though the stream
// may be another by now. Its state is only a hint, what was handled stands in SAGAS, the log and the read models, so it
// is forgotten and begins anew.
func openConsumer(ctx context.Context, js jetstream.JetStream, forget forgetFunc, stream string, cfg jetstream.ConsumerConfig) error {
	if forget != nil {
		_, err := js.Consumer(ctx, stream, cfg.Durable)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			if err := forget(stream, cfg.Durable); err != nil {
				return fmt.Errorf("consumer %s on %s: its state is unreadable and cannot be removed: %w", cfg.Durable, stream, err)
			}
		case err != nil:
			return es.Transient(fmt.Errorf("consumer %s on %s: %w", cfg.Durable, stream, err))
		}
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, stream, cfg); err != nil {
		return fmt.Errorf("consumer %s on %s: %w", cfg.Durable, stream, err)
	}
	return nil
}
