package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/asyncapi"
	"github.com/millstream-es/millstream/api/console"
	"github.com/millstream-es/millstream/api/opsdoor"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/api/websocket"
	"github.com/millstream-es/millstream/es/runtime"
)

// Door is a door over HTTP besides REST.
type Door interface {
	Mounts() []rest.Mount
	// Close ends what would not end by itself, such as subscriptions; ctx bounds it.
	Close(ctx context.Context) error
}

// DoorOptions are what a domain's own door is opened with.
type DoorOptions struct {
	Dev            bool // everyone is an admin
	TrustedOrigins []string
	Logger         *slog.Logger
}

// WithDoor adds a door of the domain's own, such as GraphQL, whose schema is designed by hand. To describe its routes where
// nothing runs it is opened without an engine, and nothing is asked of it but its Mounts.
func WithDoor(open func(e *runtime.Engine, o DoorOptions) (Door, error)) Option {
	return func(a *app) { a.doors = append(a.doors, open) }
}

// httpDoors are all doors over HTTP, behind one server.
type httpDoors struct {
	server   *http.Server
	draining atomic.Bool
	served   chan error          // why it stopped serving by itself
	spans    *sdk.TracerProvider // nil: nobody wants any
	closers  []func(context.Context) error
}

// handler opens the doors and returns every route of theirs.
func (d *httpDoors) handler(ctx context.Context, n node, engine *runtime.Engine) (*rest.Door, error) {
	sessions, forget, err := n.callers.door(ctx, n.config.Connect, n.log)
	if forget != nil {
		d.closers = append(d.closers, func(context.Context) error { return forget() })
	}
	if err != nil {
		return nil, err
	}
	options := n.rest
	options.Authenticator, options.TrustedOrigins = sessions, n.flags.Origins
	options.TrustedProxies = n.flags.Proxies

	operators, err := opsdoor.New(engine, opsdoor.Options{Logger: n.log})
	if err != nil {
		return nil, err
	}
	document, err := asyncapi.Document(engine.Domain(), engine.Schemas(), runtime.Version)
	if err != nil {
		return nil, err
	}
	others := []Door{websocket.New(engine, websocket.Options{TrustedOrigins: n.flags.Origins})}
	for _, open := range n.doors {
		door, err := open(engine, DoorOptions{Dev: n.callers.dev, TrustedOrigins: n.flags.Origins, Logger: n.log})
		if err != nil {
			return nil, err
		}
		others = append(others, door)
	}
	for _, door := range others {
		d.closers = append(d.closers, door.Close)
	}
	options.Mounts = mounts(sessions, operators, document, others)
	return rest.New(engine, options)
}

// mounts are the routes of every door but REST.
func mounts(sessions *access.Sessions, operators *opsdoor.Door, asyncAPI []byte, others []Door) []rest.Mount {
	all := slices.Concat(sessionMounts(sessions), operators.Mounts(), asyncapi.Mounts(asyncAPI), console.Mounts())
	for _, door := range others {
		all = append(all, door.Mounts()...)
	}
	return all
}

// describedMounts are the same routes where nothing runs.
func (a *app) describedMounts() ([]rest.Mount, error) {
	others := []Door{websocket.New(nil, websocket.Options{})}
	for _, open := range a.doors {
		door, err := open(nil, DoorOptions{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		others = append(others, door)
	}
	return mounts(access.NewSessions(access.Dev()), &opsdoor.Door{}, nil, others), nil
}

func (d *httpDoors) open(ctx context.Context, n node, engine *runtime.Engine, listener net.Listener) error {
	handler, err := d.handler(ctx, n, engine)
	if err != nil {
		return err
	}
	var all http.Handler = handler
	if n.callers.dev {
		all = rest.Local(all)
	}
	if d.spans != nil {
		all = traceRequests(d.spans, all)
	}
	d.server = rest.Server(n.flags.HTTP, d.drained(all))
	d.server.ErrorLog = slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)
	d.server.TLSConfig = n.callers.tls
	serve := d.server.Serve
	if n.callers.tls != nil {
		serve = func(l net.Listener) error { return d.server.ServeTLS(l, "", "") }
	}
	go func() {
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			d.served <- err
		}
	}()
	return nil
}

// drained says at /readyz that the process is stopping, once it is.
func (d *httpDoors) drained(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.draining.Load() && r.URL.Path == "/readyz" {
			http.Error(w, "the process is stopping", http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// close says goodbye to those who follow, takes no more requests and waits for those in flight.
func (d *httpDoors) close(ctx context.Context) error {
	var errs []error
	for _, c := range d.closers {
		errs = append(errs, c(ctx))
	}
	if d.server != nil {
		if err := d.server.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("HTTP requests were cut off: %w", err))
		}
	}
	return errors.Join(errs...)
}
