package natsstore

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// CheckServer says what is wrong with a server's version. Permanent error: it is too old, or cannot be read.
func CheckServer(version string) error { return checkServer(version) }

// StreamLook is one of the streams as it is.
type StreamLook struct {
	Name string
	Info *jetstream.StreamInfo // nil when it could not be looked at
	// Err is jetstream.ErrStreamNotFound for one that SetUp would make, a permanent error for one that would break a
	// promise, and otherwise why nothing could be learned.
	Err error
}

// Inspect compares every stream with what SetUp wants, and changes nothing.
func Inspect(ctx context.Context, js jetstream.JetStream) []StreamLook {
	var looks []StreamLook
	for _, want := range streams() {
		look := StreamLook{Name: want.config.Name}
		var found jetstream.Stream
		if found, look.Err = js.Stream(ctx, look.Name); look.Err == nil {
			look.Info = found.CachedInfo()
			look.Err = want.check(look.Info.Config)
		}
		looks = append(looks, look)
	}
	return looks
}
