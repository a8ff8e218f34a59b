package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es/runtime"
)

// adminFlags are of the port for whoever runs the process: metrics, readiness and profiles, and nobody is asked who
// they are.
type adminFlags struct {
	Admin     string `placeholder:"HOST:PORT" help:"Serve /metrics, /readyz and /debug/pprof here too, without asking who is calling, also in a process without the role api. Default: nowhere."`
	AdminOpen bool   `help:"Let --admin listen where other machines reach it."`
}

func (a adminFlags) check() error {
	if a.Admin == "" {
		return nil
	}
	if err := hostPort("admin", a.Admin); err != nil || a.AdminOpen || isLoopback(a.Admin) {
		return err
	}
	return fmt.Errorf("--admin %s is reachable from other machines, and asks nobody who they are: listen on 127.0.0.1, or say --admin-open", a.Admin)
}

// adminDoor is the admin port; without an address it does nothing.
type adminDoor struct {
	listener net.Listener
	server   *http.Server
}

// open listens, before the engine starts: a port that is taken is heard of at once.
func (d *adminDoor) open(ctx context.Context, flags adminFlags) (err error) {
	if flags.Admin != "" {
		d.listener, err = listen(ctx, "admin", flags.Admin)
	}
	return err
}

// serve answers from now on. failed hears why it cannot any more.
func (d *adminDoor) serve(engine *runtime.Engine, ready func(http.Handler) http.Handler, log *slog.Logger, failed chan<- error) {
	if d.listener == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(engine.Metrics(), promhttp.HandlerOpts{}))
	mux.Handle("GET /readyz", ready(rest.Readiness(engine)))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	address := d.listener.Addr().String()
	var handler http.Handler = mux
	if isLoopback(address) {
		handler = rest.Local(mux)
	}
	d.server = rest.Server(address, handler)
	d.server.WriteTimeout = 0 // a profile takes as long as it is asked to
	d.server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	log.Info("admin port", "url", "http://"+address)
	go func() {
		if err := d.server.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("admin port: %w", err)
		}
	}()
}

// close does not wait for profiles.
func (d *adminDoor) close() error {
	switch {
	case d.server != nil:
		return d.server.Close()
	case d.listener != nil:
		return d.listener.Close()
	}
	return nil
}
