package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
)

// ExecuteAll carries the commands of several aggregates through together: what they decide is stored all or nothing,
// each guarded by the state it was decided on. es.Requests makes them. They are one command to whoever repeats it:
// they share one command id (that of any, made up when none has one), which every stream remembers, and the same id
// with other commands is refused.
//
// The replies are in the order of the requests, each accepted or unchanged. On an error nothing was stored, unless it
// is ErrUnknownOutcome; Status and Problem tell of it: a Rejection of any of them, an InvalidError (not_atomic: a
// power cut could tear the commits apart where this log runs), ErrConflict.
//
// A command that changes nothing writes nothing, so its aggregate may change before the others are stored; what must
// still hold then, its Decide writes down.
func (e *Engine) ExecuteAll(ctx context.Context, requests ...es.Request) ([]es.Reply, error) {
	requests, err := admitAll(requests)
	if err != nil {
		return nil, err
	}
	return e.executor.executeAll(ctx, requests)
}

// admitAll checks requests as doors do, and gives them one command id.
func admitAll(requests []es.Request) ([]es.Request, error) {
	if len(requests) == 0 {
		return nil, &es.InvalidError{Code: "malformed", Message: "there is no command to execute"}
	}
	requests = slices.Clone(requests)
	id := ""
	streams := map[es.Stream]bool{}
	for _, r := range requests {
		if streams[r.Meta.Stream] {
			return nil, &es.InvalidError{Code: "malformed", Message: fmt.Sprintf("two commands to %s cannot be executed together: make them one command", r.Meta.Stream)}
		}
		streams[r.Meta.Stream] = true
		id = cmp.Or(id, r.Meta.CommandID)
		if r.Meta.CommandID != "" && r.Meta.CommandID != id {
			return nil, &es.InvalidError{Code: "bad_id", Message: fmt.Sprintf("commands executed together share one command id: found %q and %q", id, r.Meta.CommandID)}
		}
	}
	own := ""
	for i := range requests {
		requests[i].Meta.CommandID = id
		err := admit(&requests[i], func() string {
			own = cmp.Or(own, newID())
			return own
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", requests[i].Meta.Stream, err)
		}
	}
	return requests, nil
}

// executeAll is execute for commands of different streams with one command id.
func (x *executor) executeAll(ctx context.Context, requests []es.Request) ([]es.Reply, error) {
	began := time.Now()
	ctx, span := x.tracing.together(ctx, requests)
	replies, err := x.decideAll(ctx, requests)
	on := es.Revision(0)
	for _, reply := range replies {
		on = max(on, reply.Revision)
	}
	// Without a turn: an atomic batch takes longer than a sync, and nobody is kept waiting for it.
	if unsynced := x.durability.reach(ctx, on); unsynced != nil {
		err = unsynced
	}
	for i, r := range requests {
		kind := outcome(err)
		if err == nil {
			kind = replies[i].Outcome
		}
		x.metrics.command(r.Meta.Stream.Category, r.Type, kind, time.Since(began))
	}
	span.end(err)
	if err != nil {
		return nil, err
	}
	return replies, nil
}

// decideAll carries the commands to their commits. With an error the replies say only what was looked at.
func (x *executor) decideAll(ctx context.Context, requests []es.Request) (replies []es.Reply, err error) {
	commands := make([]es.Command, len(requests))
	for i := range requests {
		if commands[i], err = x.prepare(&requests[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", requests[i].Meta.Stream, err)
		}
	}
	streams := make([]es.Stream, len(requests))
	hash := hashAll(requests)
	for i := range requests {
		m := &requests[i].Meta
		m.RequestHash, m.Time = hash, requests[0].Meta.Time
		streams[i] = m.Stream
	}
	// In one order everywhere, so that no two wait for each other.
	slices.SortFunc(streams, byName)
	for _, s := range streams {
		defer x.streams.lock(s)()
	}
	err = x.persist(ctx, func() (done bool, err error) {
		replies, done, err = x.attemptAll(ctx, requests, commands)
		return done, err
	}, streams...)
	return replies, err
}

func (x *executor) attemptAll(ctx context.Context, requests []es.Request, commands []es.Command) (replies []es.Reply, done bool, err error) {
	replies = make([]es.Reply, len(requests))
	decisions := make([]decision, len(requests))
	repeated := false
	var refused error
	var commits []es.Commit
	for i, r := range requests {
		replies[i] = es.Reply{CommandID: r.Meta.CommandID, Stream: r.Meta.Stream.String(), Durability: x.durability.mode}
		d, err := x.consider(ctx, r, commands[i], &replies[i])
		switch {
		case err != nil && !errors.Is(err, es.ErrRejected) && !errors.Is(err, errUnexpected):
			return replies, false, fmt.Errorf("%s: %w", r.Meta.Stream, err)
		case err != nil && refused == nil:
			refused = fmt.Errorf("%s: %w", r.Meta.Stream, err)
		case d.stale:
			return replies, false, nil
		case len(d.commit.Events) > 0:
			commits = append(commits, d.commit)
		}
		decisions[i] = d
		repeated = repeated || d.repeated
	}
	if repeated || refused != nil || len(commits) == 0 {
		if ok, err := x.newest(ctx, requests, decisions); !ok {
			return replies, false, err
		}
		if !repeated {
			return replies, refused == nil, refused
		}
		// It took effect as a whole. Who does not remember it had nothing to change then, or has forgotten since.
		for i, d := range decisions {
			if !d.repeated {
				replies[i].Outcome, replies[i].Revision, replies[i].Version = es.Unchanged, d.inst.revision, d.inst.version
			}
		}
		return replies, true, nil
	}
	began := time.Now()
	span := x.tracing.begin(ctx, "append")
	last, err := x.log.AppendAll(ctx, commits...)
	span.end(err)
	x.metrics.append(time.Since(began), err)
	if err != nil {
		return replies, false, err
	}
	x.durability.acknowledged(last)
	at := last - es.Revision(len(commits))
	for i, d := range decisions {
		if len(d.commit.Events) > 0 {
			at++
			x.committed(d, at, &replies[i])
		}
	}
	return replies, true, nil
}

// newest reports whether what was decided, and is not going to be guarded by an append, was decided on the newest
// states. One that was not is loaded anew the next time.
func (x *executor) newest(ctx context.Context, requests []es.Request, decisions []decision) (bool, error) {
	for i, d := range decisions {
		if d.repeated {
			continue
		}
		s := requests[i].Meta.Stream
		last, err := x.log.Last(ctx, s)
		if err != nil {
			return false, err
		}
		if last != d.inst.revision {
			x.doubt(s)
			return false, nil
		}
	}
	return true, nil
}

// hashAll is the request hash of commands executed together, whatever their order.
func hashAll(requests []es.Request) string {
	sorted := slices.SortedFunc(slices.Values(requests), func(a, b es.Request) int { return byName(a.Meta.Stream, b.Meta.Stream) })
	h := sha256.New()
	for _, r := range sorted {
		fmt.Fprintln(h, r.Meta.Stream, r.Meta.RequestHash)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

func byName(a, b es.Stream) int { return cmp.Compare(a.String(), b.String()) }
