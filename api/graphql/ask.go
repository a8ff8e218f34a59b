package graphql

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// resolver gives the schema's types their resolvers.
type resolver struct{ *Door }

func (r resolver) Query() QueryResolver               { return query(r) }
func (r resolver) Mutation() MutationResolver         { return mutation(r) }
func (r resolver) Subscription() SubscriptionResolver { return subscription(r) }
func (r resolver) Order() OrderResolver               { return orderFields(r) }
func (r resolver) FoundOrder() FoundOrderResolver     { return foundOrderFields(r) }
func (r resolver) Customer() CustomerResolver         { return customerFields(r) }
func (r resolver) Payment() PaymentResolver           { return paymentFields(r) }
func (r resolver) Mail() MailResolver                 { return mailFields(r) }
func (r resolver) StockLevel() StockLevelResolver     { return stockLevelFields(r) }
func (r resolver) Account() AccountResolver           { return accountFields(r) }
func (r resolver) Transfer() TransferResolver         { return transferFields(r) }

// ask puts a question to the read models. public is the query that a caller must be allowed: q itself, or the one that
// q answers for many. Errors are refusals.
func ask[P, A any](ctx context.Context, d *Door, public es.QueryDef, q es.Query[P, A], params P, least es.Revision) (A, error) {
	var none A
	if err := access.Check(ctx, access.QueryAsk, public.QueryName()); err != nil {
		return none, d.refuse(ctx, err)
	}
	answer, _, err := d.engine.Ask(ctx, q, params, least)
	switch {
	case err == nil:
		return answer.(A), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return none, d.late(least)
	}
	return none, d.refuse(ctx, blameAfter(err))
}

// one asks for one thing; nil: it does not exist.
func one[P, A, N any](ctx context.Context, d *Door, q es.Query[P, A], params P, minRevision *es.Revision, node func(A, *siblings[*N]) *N) (*N, error) {
	least := value(minRevision)
	answer, err := ask(ctx, d, q, q, params, least)
	if err != nil {
		return nil, unlessAbsent(err)
	}
	return together(least, []A{answer}, node)[0], nil
}

// state folds one thing from the log; nil: it does not exist, or did not then.
func (d *Door) state(ctx context.Context, s es.Stream, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	err := access.Check(ctx, access.AggregateRead, s.Category)
	switch {
	case err != nil:
	case revision != nil && at != nil:
		err = &es.InvalidError{Code: "schema", Message: "give revision or time, not both", Pointer: "/time"}
	case revision != nil && *revision == 0, at != nil && at.IsZero(): // to the engine: without bound
		return nil, nil // nothing existed then
	default:
		err = s.Validate()
	}
	if err != nil {
		return nil, d.refuse(ctx, err)
	}
	state, err := d.engine.StateAt(ctx, s, es.Range{UpTo: value(revision), AsOf: value(at)})
	switch {
	case err == nil:
		return &state, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, d.late(0)
	}
	return nil, unlessAbsent(d.refuse(ctx, err))
}

// unlessAbsent is nil for what does not exist: its absence is the answer.
func unlessAbsent(err error) error {
	if r, ok := errors.AsType[*refusal](err); ok && r.problem.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// value is what an optional argument holds, or the zero value.
func value[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}
