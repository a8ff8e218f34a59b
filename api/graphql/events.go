package graphql

import (
	"context"
	"errors"

	"github.com/99designs/gqlgen/graphql/handler/transport"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

type subscription struct{ *Door }

// Events follows the log. It ends with the operation; a client too slow for what happens is closed, and loses nothing
// when it comes back with the last revision it has seen.
func (s subscription) Events(ctx context.Context, category, id *string, types []string, correlation *string, after *es.Revision) (<-chan EventNotice, error) {
	if err := access.Check(ctx, access.EventsFollow, value(category)); err != nil {
		return nil, s.refuse(ctx, err)
	}
	filter := runtime.Filter{Category: value(category), Types: types, Correlation: value(correlation)}
	if id != nil {
		if category == nil {
			return nil, s.refuse(ctx, &es.InvalidError{Code: "schema", Message: "an id is of a category: give both", Pointer: "/category"})
		}
		filter.Stream, filter.Category = es.Stream{Category: *category, ID: *id}, ""
	}
	c := connectionFrom(ctx)
	if c.subscribed.Add(1) > mostSubscribed {
		c.subscribed.Add(-1)
		return nil, &refusal{problem: &es.Problem{Code: "too_many_subscriptions", Message: "this WebSocket has as many subscriptions as one may have: end one, or open another"}}
	}
	followed, err := s.engine.Follow(ctx, filter, runtime.FollowFrom{After: value(after), New: after == nil})
	if err != nil {
		c.subscribed.Add(-1)
		return nil, s.refuse(ctx, err)
	}
	notices := make(chan EventNotice)
	go func() {
		defer close(notices)
		defer c.subscribed.Add(-1)
		err := tell(ctx, followed, notices)
		switch {
		case ctx.Err() != nil: // the client is through with it, or gone
		case errors.Is(err, runtime.ErrSlow):
			c.end(closeSlow, "too slow for what happens: come back with the last revision seen")
		default:
			transport.AddSubscriptionError(ctx, s.present(ctx, s.refuse(ctx, err)))
		}
	}()
	return notices, nil
}

// tell passes on what is followed, and returns why it ended.
func tell(ctx context.Context, followed *runtime.Subscription, notices chan<- EventNotice) error {
	defer followed.Close()
	for n := range followed.C() {
		notice := EventNotice{Revision: n.Revision, Live: n.Live, Events: make([]Event, len(n.Events))}
		for i, r := range n.Events {
			var err error
			if notice.Events[i], err = recorded(r); err != nil {
				return err
			}
		}
		select {
		case notices <- notice:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return followed.Err()
}
