package runtime

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// offer hands a message to a handler, once, and waits for the answer. When ctx ends before anybody took it, or while
// it is handled and grace has passed too, it is not open any more.
func offer(ctx context.Context, out chan<- *message.Message, m *message.Message, grace time.Duration) (handled, open bool) {
	select {
	case out <- m:
	case <-ctx.Done():
		return false, false
	}
	select {
	case <-m.Acked():
		return true, true
	case <-m.Nacked():
		return false, true
	case <-ctx.Done():
	}
	select {
	case <-m.Acked():
		return true, true
	case <-m.Nacked():
	case <-time.After(grace):
	}
	return false, false
}
