package runtime

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is a growing pause with jitter.
type backoff struct{ first, most, next time.Duration }

func newBackoff(first, most time.Duration) *backoff { return &backoff{first, most, first} }

func (b *backoff) reset() { b.next = b.first }

// wait pauses; false when ctx ended first.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(b.next*2, b.most)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
