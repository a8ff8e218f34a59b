package runtime

import (
	"context"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// Tail follows the log over NATS, without an engine: f gets every commit's matching events after a revision, in order
// and each once, until ctx ends or f returns an error; that is what it returns. interrupted hears of errors being
// tried again and, with nil, of their end. What comes may not be synced yet.
func Tail(ctx context.Context, log *natsstore.Log, filter Filter, after es.Revision, interrupted func(error), f func(Notice) error) error {
	return log.Follow(ctx, filter.part(), after, interrupted, func(c natsstore.Stored) error {
		n, ok, err := filter.read(log, c)
		if err != nil || !ok {
			return err
		}
		return f(n)
	})
}

// LastEvents are the last matching events up to a revision, at most n of them, oldest first. The log cannot be read
// backwards: ever longer parts of its end are looked through.
func LastEvents(ctx context.Context, log *natsstore.Log, filter Filter, n int, upTo es.Revision) ([]es.Recorded, error) {
	for window := es.Revision(max(1000, 2*n)); ; window *= 8 {
		from := upTo - min(window, upTo)
		var last []es.Recorded
		err := log.Range(ctx, filter.part(), from, upTo, func(c natsstore.Stored) error {
			notice, ok, err := filter.read(log, c)
			if err != nil || !ok {
				return err
			}
			last = append(last, notice.Events...)
			if len(last) > 2*n {
				last = append([]es.Recorded(nil), last[len(last)-n:]...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(last) >= n || from == 0 {
			return last[max(0, len(last)-n):], nil
		}
	}
}
