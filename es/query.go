package es

import (
	"context"
	"fmt"
	"reflect"
)

// Query is one question to one read model. P holds its parameters: a struct whose JSON names are those of the path
// and the query string. R is the answer, also a struct with JSON names.
type Query[P, R any] struct {
	Name      string // on the wire: queries.<Name>
	Path      string // of the GET route, such as /orders/{orderId}
	Summary   string // one line for the documentation
	Projector string // whose read model it asks
	// Ask answers. A thing that is not there is a NotFound rejection; bad parameters are an InvalidError.
	Ask func(ctx context.Context, db Reader, params P) (R, error)
}

// QueryDef is a Query without its types.
type QueryDef interface {
	QueryName() string
	QueryPath() string
	QuerySummary() string
	ProjectorName() string
	Params() reflect.Type
	Result() reflect.Type
	AskAny(ctx context.Context, db Reader, params any) (any, error)
}

// Versioned is an answer about one aggregate: its version becomes the ETag.
type Versioned interface{ StreamVersion() uint64 }

// QueryName is the query's name on the wire.
func (q Query[P, R]) QueryName() string { return q.Name }

// QueryPath is the GET route.
func (q Query[P, R]) QueryPath() string { return q.Path }

// QuerySummary is one line for the documentation.
func (q Query[P, R]) QuerySummary() string { return q.Summary }

// ProjectorName is the read model that is asked.
func (q Query[P, R]) ProjectorName() string { return q.Projector }

// Params is the Go type of the parameters.
func (q Query[P, R]) Params() reflect.Type { return reflect.TypeFor[P]() }

// Result is the Go type of the answer.
func (q Query[P, R]) Result() reflect.Type { return reflect.TypeFor[R]() }

// AskAny asks with parameters of type P. Permanent error: they are of another type.
func (q Query[P, R]) AskAny(ctx context.Context, db Reader, params any) (any, error) {
	p, ok := params.(P)
	if !ok {
		return nil, Permanent(fmt.Errorf("query %s takes %s, not %T", q.Name, reflect.TypeFor[P](), params))
	}
	return q.Ask(ctx, db, p)
}
