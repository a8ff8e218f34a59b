package rest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
)

// standing is what a connection that stays open asks again: it may outlive the key or the token that opened it.
type standing struct {
	admitted func(context.Context) error
	counted  func() bool
	limits   *limiter
}

type standingKey struct{}

// stand lets the connection that a request becomes ask again. given are the headers as they came: authenticating takes a
// token away.
func (d *Door) stand(r *http.Request, given http.Header, g guard, caller string) *http.Request {
	s := standing{limits: d.limits}
	s.admitted = func(ctx context.Context) error {
		again := r.WithContext(ctx)
		again.Header = given.Clone()
		p, err := d.opts.Authenticator.Authenticate(again)
		if err != nil {
			return err
		}
		return g.check(access.With(ctx, p))
	}
	s.counted = func() bool {
		ok, _, _ := d.limits.take(caller, time.Now())
		return ok
	}
	return r.WithContext(context.WithValue(r.Context(), standingKey{}, s))
}

// Again asks for a connection that has stayed open what was asked when it was made: whether its caller is known and may.
// Nil: they are, or no Door has seen the request.
func Again(ctx context.Context) *es.Problem {
	s, ok := ctx.Value(standingKey{}).(standing)
	if !ok {
		return nil
	}
	var refused interface{ Problem() *es.Problem } // any other error is the machinery's, which ends nobody's connection
	if errors.As(s.admitted(ctx), &refused) {
		return refused.Problem()
	}
	return nil
}

// Count counts what a caller asks for over a connection that stays open as one more request of theirs. Nil: they may.
func Count(ctx context.Context) *es.Problem {
	s, ok := ctx.Value(standingKey{}).(standing)
	if !ok || s.limits == nil || s.counted() {
		return nil
	}
	return s.limits.refusal()
}

// stands reports whether requests of a route become connections that stay open.
func stands(g guard) bool { return g.operation == access.EventsFollow }
