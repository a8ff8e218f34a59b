// Package rest is the HTTP door: commands as POST, queries as GET, states of the past, health and metrics, with an
// OpenAPI 3.1 document and its page. All of it is generated from the domain's lists; nothing here knows a domain.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// Engine is what the door needs of *runtime.Engine.
type Engine interface {
	Domain() es.Domain
	Schemas() *schema.Registry
	Metrics() *prometheus.Registry
	Execute(ctx context.Context, r es.Request) es.Reply
	Ask(ctx context.Context, q es.QueryDef, params any, min es.Revision) (answer any, at es.Revision, err error)
	StateAt(ctx context.Context, s es.Stream, r es.Range) (runtime.StateAt, error)
	Checks(ctx context.Context) []runtime.Check
}

var _ Engine = (*runtime.Engine)(nil)

// Options change how the door behaves; the zero value works.
type Options struct {
	// Principal names the user of a request for the audit trail; nil: nobody is named. In dev: BelieveUserID.
	Principal func(*http.Request) string
	// MaxWait bounds how long a query waits for the revision that its caller demands; default 5 s.
	MaxWait time.Duration
	// TrustedOrigins may send commands from a browser page of another origin, as "https://host[:port]".
	TrustedOrigins []string
	// Version of the program, for the OpenAPI document; default "dev".
	Version string
	// Logger hears of panics and faults whose details the caller is not shown; default slog.Default().
	Logger *slog.Logger
}

// BelieveUserID takes the User-Id header at its word. Only for dev, where nobody is authenticated.
func BelieveUserID(r *http.Request) string { return r.Header.Get(runtime.HeaderUser) }

type door struct {
	engine Engine
	opts   Options
	domain es.Domain
	mux    *http.ServeMux
	api    huma.API
	routes routes
}

// New builds the handler of every route that the engine's domain asks for. Errors, all at start: two routes that
// collide, a query whose path names no parameter of its own, a type without a JSON Schema.
func New(e Engine, opts Options) (handler http.Handler, err error) {
	if opts.Principal == nil {
		opts.Principal = func(*http.Request) string { return "" }
	}
	if opts.MaxWait == 0 {
		opts.MaxWait = 5 * time.Second
	}
	if opts.Version == "" {
		opts.Version = "dev"
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	// The mux and huma panic on routes and operation ids that collide: here those come from the lists.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("HTTP routes of %s: %v", e.Domain().Name, p)
		}
	}()
	d := &door{engine: e, opts: opts, domain: e.Domain(), mux: http.NewServeMux()}
	d.api = humago.New(d.mux, apiConfig(d.domain.Name, opts.Version))
	for _, add := range []func() error{d.addComponents, d.addCommands, d.addReads, d.addOperations} {
		if err := add(); err != nil {
			return nil, fmt.Errorf("HTTP routes of %s: %w", d.domain.Name, err)
		}
	}
	return d.guarded()
}

// register adds a documented route.
func (d *door) register(op *huma.Operation, h http.HandlerFunc) {
	d.api.OpenAPI().AddOperation(op)
	d.api.Adapter().Handle(op, func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		h(w, r)
	})
	d.routes.add(op.Method, op.Path)
}

// addOperations adds what operators and newcomers ask for. It comes last: the document is complete by then.
func (d *door) addOperations() error {
	document, err := json.Marshal(d.api.OpenAPI())
	if err != nil {
		return fmt.Errorf("OpenAPI document: %w", err)
	}
	serve := func(path string, h http.HandlerFunc) {
		d.mux.HandleFunc("GET "+path, h)
		d.routes.add(http.MethodGet, path)
	}
	serve("/openapi.json", static("application/openapi+json", document))
	page := docs(d.domain.Name)
	serve("/docs", page)
	serve("/docs/{$}", page)
	serve("/docs/{file}", page)
	serve("/livez", static("text/plain; charset=utf-8", []byte("alive\n")))
	serve("/readyz", d.ready)
	serve("/metrics", promhttp.HandlerFor(d.engine.Metrics(), promhttp.HandlerOpts{}).ServeHTTP)
	serve("/{$}", static("text/plain; charset=utf-8", d.index()))
	return nil
}

func static(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// readiness is the body of /readyz.
type readiness struct {
	Ready  bool            `json:"ready"`
	Checks []runtime.Check `json:"checks"`
}

func (d *door) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), d.opts.MaxWait)
	defer cancel()
	answer, status := readiness{Ready: true, Checks: d.engine.Checks(ctx)}, http.StatusOK
	for _, c := range answer.Checks {
		if !c.OK {
			answer.Ready, status = false, http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	d.write(w, status, "application/json", answer)
}

// Server is an http.Server with time limits that no slow or idle client can outstay.
func Server(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}
