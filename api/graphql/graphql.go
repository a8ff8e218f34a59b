// Package graphql is the GraphQL door: queries, commands and live events of the order system under a schema designed by
// hand. Types are those of queries and commands; generated.go, made of the *.graphqls files, ties them to the schema.
package graphql

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// Engine is what the door needs of *runtime.Engine.
type Engine interface {
	Execute(ctx context.Context, r es.Request) es.Reply
	Ask(ctx context.Context, q es.QueryDef, params any, min es.Revision) (answer any, at es.Revision, err error)
	StateAt(ctx context.Context, s es.Stream, r es.Range) (runtime.StateAt, error)
	Follow(ctx context.Context, f runtime.Filter, from runtime.FollowFrom) (*runtime.Subscription, error)
}

var _ Engine = (*runtime.Engine)(nil)

// Options change how the door behaves; the zero value works.
type Options struct {
	// Dev adds the page at /graphql/playground.
	Dev bool
	// MaxWait bounds a query, the wait for the revision that its caller demands included; default 5 s.
	MaxWait time.Duration
	// WriteWait is how long a subscriber may take to accept a message before it is let go; default 10 s.
	WriteWait time.Duration
	// MaxClients is how many WebSockets may be open at once; default 10,000.
	MaxClients int
	// Beat is how often it is asked whether the caller of a WebSocket may stay; default 20 s.
	Beat time.Duration
	// TrustedOrigins are the origins of browser pages, as "https://host[:port]", that may subscribe from elsewhere.
	TrustedOrigins []string
	// Logger hears of panics and faults whose details the caller is not shown; default slog.Default().
	Logger *slog.Logger
}

// Door answers GraphQL.
type Door struct {
	engine Engine
	opts   Options
	exec   *executor.Executor
	open   context.Context // ends with the door: so do its WebSockets
	leave  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	clients int
	sockets sync.WaitGroup // of the clients; none is added once closed
}

// New builds the door.
func New(e Engine, opts Options) *Door {
	opts.MaxWait = cmp.Or(opts.MaxWait, 5*time.Second)
	opts.WriteWait = cmp.Or(opts.WriteWait, 10*time.Second)
	opts.MaxClients = cmp.Or(opts.MaxClients, 10_000)
	opts.Beat = cmp.Or(opts.Beat, 20*time.Second)
	opts.Logger = cmp.Or(opts.Logger, slog.Default())
	d := &Door{engine: e, opts: opts}
	d.open, d.leave = context.WithCancel(context.Background())
	d.exec = executor.New(NewExecutableSchema(Config{Resolvers: resolver{d}}))
	d.exec.SetParserTokenLimit(maxTokens)
	cache := newDocuments()
	d.exec.SetQueryCache(cache)
	d.exec.SetErrorPresenter(d.present)
	d.exec.SetRecoverFunc(d.recover)
	d.exec.Use(limits{cache})
	d.exec.AroundOperations(d.bound)
	return d
}

// tag groups the door's routes in the OpenAPI document.
const tag = "graphql"

// operationBody and operationAnswer are what a POST is, as https://graphql.github.io/graphql-over-http says.
type (
	operationBody struct {
		Query         string          `json:"query"`
		Variables     json.RawMessage `json:"variables,omitempty"`
		OperationName string          `json:"operationName,omitempty"`
	}
	operationAnswer struct {
		Data   json.RawMessage `json:"data,omitempty"`
		Errors []struct {
			Message    string          `json:"message"`
			Locations  json.RawMessage `json:"locations,omitempty"`
			Path       json.RawMessage `json:"path,omitempty"`
			Extensions json.RawMessage `json:"extensions,omitempty"` // code, as at the other doors, and traceId
		} `json:"errors,omitempty"`
		Extensions json.RawMessage `json:"extensions,omitempty"`
	}
)

// asks are what operations ask for, field by field.
var asks = []access.Operation{access.QueryAsk, access.AggregateRead, access.CommandSend, access.EventsFollow, access.SchemasRead}

// Mounts are the door's routes.
func (d *Door) Mounts() []rest.Mount {
	mounts := []rest.Mount{
		{Method: http.MethodPost, Pattern: "/graphql", Operation: access.QueryAsk,
			Asks: asks, Handler: http.HandlerFunc(d.post), Summary: "GraphQL: queries and commands", Doc: &rest.Doc{Tag: tag,
				Description: "Answered with 200 once the operation was executed, whatever its errors say; the schema is at /graphql/schema.",
				Body:        operationBody{}, Answer: operationAnswer{}, Same: []int{400, 413, 415}, Errors: []int{401, 403, 429, 500}}},
		{Method: http.MethodGet, Pattern: "/graphql", Operation: access.EventsFollow,
			Asks: asks, Handler: http.HandlerFunc(d.socket), Summary: "GraphQL over WebSocket: subscriptions", Doc: &rest.Doc{Tag: tag,
				Description: "Connect with a WebSocket client, subprotocol graphql-transport-ws; what goes over it is not HTTP.",
				Status:      http.StatusSwitchingProtocols, Errors: []int{400, 401, 403, 405, 429, 503}}},
		{Method: http.MethodGet, Pattern: "/graphql/schema", Operation: access.SchemasRead, Handler: http.HandlerFunc(serveSchema), Summary: "The GraphQL schema as text",
			Doc: &rest.Doc{Tag: tag, Answer: rest.Media("text/plain"), Errors: []int{401, 403, 429}}},
	}
	if d.opts.Dev {
		mounts = append(mounts,
			rest.Mount{Method: http.MethodGet, Pattern: "/graphql/playground", Operation: access.Public, Handler: playground(), Summary: "A page to try GraphQL on"},
			rest.Mount{Method: http.MethodGet, Pattern: "/graphql/playground/{file}", Operation: access.Public, Handler: playground()})
	}
	return mounts
}

// Close ends all subscriptions and says goodbye to their WebSockets; ctx bounds the wait for them. Requests in work are
// not its concern.
func (d *Door) Close(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.leave()
	gone := make(chan struct{})
	go func() { d.sockets.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("GraphQL WebSockets are still open: %w", ctx.Err())
	}
}

// enter counts a WebSocket in; an error says why it cannot.
func (d *Door) enter() *gqlerror.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return coded("unavailable", "the server is stopping: connect elsewhere, or later")
	case d.clients >= d.opts.MaxClients:
		return coded("too_many_clients", "%d WebSockets are open already: try again later, or at another process", d.clients)
	}
	d.clients++
	d.sockets.Add(1)
	return nil
}

func (d *Door) left() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients--
	d.sockets.Done()
}

// bound gives every query its time. Commands take theirs, and subscriptions last.
func (d *Door) bound(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	if graphql.GetOperationContext(ctx).Operation.Operation != ast.Query {
		return next(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.MaxWait)
	answer := next(ctx)
	return func(ctx context.Context) *graphql.Response {
		defer cancel()
		return answer(ctx)
	}
}

// recover tells of a panic in a field without what it was about.
func (d *Door) recover(ctx context.Context, p any) error {
	id, _ := rest.Trace(ctx)
	d.opts.Logger.ErrorContext(ctx, "GraphQL field panicked", "path", graphql.GetPath(ctx).String(), "trace", id, "panic", p, "stack", string(debug.Stack()))
	return &refusal{problem: runtime.Problem(errors.New("panic"))}
}
