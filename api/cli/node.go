package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// drainTime bounds how long work in flight may take to finish after a signal.
const drainTime = 20 * time.Second

// startTime bounds how long the servers are waited for.
const startTime = time.Minute

// ready is what a node prints, as JSON with --json.
type ready struct {
	NATS string `json:"nats"`
	HTTP string `json:"http,omitempty"`
	Data string `json:"data"`
}

// node is an engine with its doors.
type node struct {
	flags  nodeFlags
	config runtime.Config
	rest   rest.Options
	log    *slog.Logger
	// callers are how those who come in by HTTP are known.
	callers callers
	doors   []func(*runtime.Engine, DoorOptions) (Door, error) // of the domain's own
	// started is called once everything answers; what it runs ends with ctx.
	started func(ctx context.Context, e *runtime.Engine, url string) error
}

// run starts the node, waits for ctx to end or for something that must end the process, and lets the work in flight
// finish: HTTP first, then the engine.
func (n node) run(ctx context.Context) (err error) {
	var listener net.Listener
	if len(n.config.Roles) == 0 || slices.Contains(n.config.Roles, runtime.RoleAPI) {
		if listener, err = listen(ctx, "http", n.flags.HTTP); err != nil {
			return err
		}
		defer listener.Close()
	}
	admin := &adminDoor{}
	if err := admin.open(ctx, n.flags.adminFlags); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	spans, err := n.flags.provider(ctx, n.config.Domain.Name, n.log)
	if err != nil {
		return err
	}
	if spans != nil {
		n.config.Tracer = spans.Tracer(instrumentation, trace.WithInstrumentationVersion(runtime.Version))
		defer n.sendLast(ctx, spans)
	}
	n.config.Delays, n.config.Park, n.config.DataDir, n.config.Logger = n.flags.Wake, n.flags.Park, n.flags.Data, n.log
	engine, err := n.start(ctx)
	if err != nil {
		return err
	}
	door := &httpDoors{served: make(chan error, 2), spans: spans}
	admin.serve(engine, door.drained, n.log, door.served)
	url := ""
	if listener != nil {
		url = "http://" + listener.Addr().String()
		if n.callers.tls != nil {
			url = "https://" + listener.Addr().String()
		}
		err = door.open(ctx, n, engine, listener)
	}
	if err == nil {
		err = n.wait(ctx, engine, door, url)
	}
	if ctx.Err() != nil {
		n.log.Info("stopping: work in flight is finished first; a second signal does not wait")
		door.draining.Store(true)
		time.Sleep(n.flags.DrainDelay)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	return errors.Join(err, door.close(drain), engine.Close(drain))
}

// sendLast sends the spans that are left. That a collector is away keeps no process from ending well.
func (n node) sendLast(ctx context.Context, spans *sdk.TracerProvider) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := spans.Shutdown(ctx); err != nil {
		n.log.Warn("the last traces are not sent", "error", err)
	}
}

// start tries again while the servers are there but not ready, as when a cluster is electing.
func (n node) start(ctx context.Context) (*runtime.Engine, error) {
	told := ""
	for giveUp := time.Now().Add(startTime); ; {
		engine, err := runtime.Start(ctx, n.config)
		if err == nil {
			return engine, nil
		}
		later := errors.Is(err, es.ErrTransient) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
			errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrNoServers)
		if !later || ctx.Err() != nil {
			return nil, err
		}
		if time.Now().After(giveUp) {
			return nil, codedError{exitUnavailable, fmt.Errorf("not ready after %s: %w", startTime, err)}
		}
		if told != err.Error() {
			told = err.Error()
			n.log.Warn("the servers are not ready, trying again for up to "+startTime.String(), "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (n node) wait(ctx context.Context, engine *runtime.Engine, door *httpDoors, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background := make(chan error, 1)
	go func() { background <- n.started(ctx, engine, url) }()
	for {
		select {
		case <-ctx.Done():
			if background != nil {
				<-background //nolint:errcheck // it was told to end, and has no more to say
			}
			return nil
		case err := <-engine.Fatal():
			return fmt.Errorf("the engine cannot go on: %w", err)
		case err := <-door.served:
			return fmt.Errorf("HTTP: %w", err)
		case err := <-background:
			if err != nil && ctx.Err() == nil {
				return err
			}
			background = nil // there is nothing more to run beside the engine
		}
	}
}

// listen says which port is taken and how to take another.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, codedError{exitUnavailable, fmt.Errorf("%s cannot be listened on (%w): free it, or choose another with --%s HOST:PORT; port 0 picks a free one", address, err, flag)}
	}
	return l, nil
}

func absolute(dir string) string {
	if a, err := filepath.Abs(dir); err == nil {
		return a
	}
	return dir
}
