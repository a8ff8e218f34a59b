package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// JetStream's errors when it cannot make a consumer on disk, as where an unreadable one of that name lies.
const (
	codeConsumerCreate = 10012
	codeConsumerStore  = 10104
)

// forgetFunc takes away what the embedded server has on disk of a consumer that it could not load.
type forgetFunc func(stream, consumer string) error

// openConsumer creates a consumer, or updates it. A power cut can leave a consumer's state unreadable; the server then
// knows no such consumer and cannot make a new one of that name. Its state is only a hint, what was handled stands in
// SAGAS, the log and the read models, so it is forgotten and begins anew.
func openConsumer(ctx context.Context, js jetstream.JetStream, forget forgetFunc, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	c, err := js.CreateOrUpdateConsumer(ctx, stream, cfg)
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == codeConsumerStore || api.ErrorCode == codeConsumerCreate) && forget != nil {
		if err := forget(stream, cfg.Durable); err != nil {
			return nil, fmt.Errorf("consumer %s on %s: its state is unreadable and cannot be removed: %w", cfg.Durable, stream, err)
		}
		c, err = js.CreateOrUpdateConsumer(ctx, stream, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s on %s: %w", cfg.Durable, stream, err)
	}
	return c, nil
}
