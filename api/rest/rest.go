// Package rest is the HTTP door: commands as POST, queries as GET, states of the past, health and metrics, with an
// OpenAPI 3.1 document and its page. All of it is generated from the domain's lists; nothing here knows a domain.
// Other doors that speak HTTP are mounted in its mux, behind the same guards.
package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millstream-es/millstream/api/access"
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
	Enqueue(ctx context.Context, r es.Request) (commandID string, err error)
	Outcome(ctx context.Context, s es.Stream, commandID string) (reply es.Reply, pending bool, err error)
	AwaitOutcome(ctx context.Context, s es.Stream, commandID string) (reply es.Reply, pending bool, err error)
	Ask(ctx context.Context, q es.QueryDef, params any, min es.Revision) (answer any, at es.Revision, err error)
	StateAt(ctx context.Context, s es.Stream, r es.Range) (runtime.StateAt, error)
	Checks(ctx context.Context) []runtime.Check
}

var _ Engine = (*runtime.Engine)(nil)

// Options change how the door behaves. Authenticator is required; the zero value of the others works.
type Options struct {
	// Authenticator finds out who sends a request, once for every door behind this one.
	Authenticator access.Authenticator
	// Mounts are other doors.
	Mounts []Mount
	// MaxWait bounds how long a request waits: for the revision or the outcome that its caller wants; default 5 s.
	MaxWait time.Duration
	// Rate is how many requests a second one caller may make, twice as many at once; default 500; below zero: any.
	// Callers are told apart by name, those who are not known by their address.
	Rate float64
	// TrustedOrigins are the origins of browser pages, as "https://host[:port]", that may read answers and send
	// commands from elsewhere (CORS). Default: none.
	TrustedOrigins []string
	// TrustedProxies are the networks of the proxies in front of this door: from these peers alone X-Forwarded-For and
	// X-Forwarded-Proto are believed. Default: none.
	TrustedProxies []netip.Prefix
	// Version of the program, for the OpenAPI document; default "dev".
	Version string
	// Logger hears of panics and faults whose details the caller is not shown; default slog.Default().
	Logger *slog.Logger
}

// Mount is a route of another door.
type Mount struct {
	Method    string // "" = any
	Pattern   string // of an http.ServeMux, without method: "/console/{file...}"
	Operation access.Operation
	// Target is what a request does the operation to; nil: the operation has no target, or it is done to all.
	Target func(r *http.Request) string
	// Asks are the operations, Operation among them, that the handler itself asks access.Check for, once it knows what to.
	// Whoever may do one of them to something is let in to it.
	Asks    []access.Operation
	Handler http.Handler
	Summary string // one line for the list at / and the document
	Doc     *Doc   // nil: the route is not in the OpenAPI document
}

// Door is the handler of every route.
type Door struct {
	engine   Engine
	opts     Options
	domain   es.Domain
	schemas  *schema.Registry
	mux      *http.ServeMux
	api      huma.API
	routes   routes
	guards   map[string]guard // by the mux's pattern
	origins  origins
	limits   *limiter     // nil: none
	document []byte       // OpenAPI
	zipped   http.Handler // the mux, its answers compressed
	inFlight inFlight
}

// New builds the handler of every route that the engine's domain asks for. Errors, all at start: two routes that
// collide, a query whose path names no parameter of its own, a type without a JSON Schema, an origin that is none.
func New(e Engine, opts Options) (*Door, error) {
	if opts.Authenticator == nil {
		return nil, errors.New("HTTP routes: there is no Authenticator to ask who is calling")
	}
	d, err := describe(e.Domain(), e.Schemas(), opts)
	if err != nil {
		return nil, err
	}
	d.engine = e
	return d, d.named(d.addMounts, d.addIndex, d.addGuards)
}

// OpenAPI is the document of /openapi.json, for which nothing needs to run: nothing of the mounts but what they say of
// themselves is used.
func OpenAPI(domain es.Domain, version string, mounts []Mount) ([]byte, error) {
	schemas, err := schema.New(domain)
	if err != nil {
		return nil, err
	}
	d, err := describe(domain, schemas, Options{Version: version, Mounts: mounts})
	if err != nil {
		return nil, err
	}
	return d.document, nil
}

// describe builds what is generated from the lists.
func describe(domain es.Domain, schemas *schema.Registry, opts Options) (*Door, error) {
	opts.MaxWait = cmp.Or(opts.MaxWait, 5*time.Second)
	opts.Rate = cmp.Or(opts.Rate, 500)
	opts.Version = cmp.Or(opts.Version, "dev")
	opts.Logger = cmp.Or(opts.Logger, slog.Default())
	d := &Door{opts: opts, domain: domain, schemas: schemas, mux: http.NewServeMux(), guards: map[string]guard{}}
	d.api = humago.New(d.mux, apiConfig(d.domain.Name, opts.Version))
	return d, d.named(d.addComponents, d.addCommands, d.addOutcomes, d.addReads, d.addMountDocs, d.addOperations, d.addDocument)
}

// named runs what may fail at start and says whose routes they are.
func (d *Door) named(steps ...func() error) (err error) {
	// The mux and huma panic on routes and operation ids that collide: here those come from the lists.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("HTTP routes of %s: %v", d.domain.Name, p)
		}
	}()
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("HTTP routes of %s: %w", d.domain.Name, err)
		}
	}
	return nil
}

// Routes are all routes, each with the operation that it asks for.
func (d *Door) Routes() []access.Route {
	all := make([]access.Route, len(d.routes))
	for i, r := range d.routes {
		all[i] = r.Route
	}
	return all
}

// register adds a documented route.
func (d *Door) register(op *huma.Operation, g guard, h http.HandlerFunc) {
	op.Extensions = map[string]any{"x-access": g.operation}
	d.api.OpenAPI().AddOperation(op)
	d.route(op.Method, op.Path, op.Summary, g, h)
}

// route adds a route.
func (d *Door) route(method, path, summary string, g guard, h http.Handler) {
	pattern := path
	if method != "" {
		pattern = method + " " + path
	}
	d.mux.Handle(pattern, h)
	d.guards[pattern] = g
	d.routes = append(d.routes, route{access.Route{Method: method, Path: path, Operation: g.operation}, summary})
}

// addOperations adds what operators and newcomers ask for.
func (d *Door) addOperations() error {
	serve := func(path, summary string, op access.Operation, doc Doc, h http.HandlerFunc) error {
		d.route(http.MethodGet, path, summary, guard{operation: op, uncounted: path == "/livez" || path == "/readyz"}, h)
		doc.Tag = "operations"
		return d.describeRoute(http.MethodGet, path, summary, op, doc)
	}
	page := docs(d.domain.Name)
	for _, path := range []string{"/docs", "/docs/{$}", "/docs/{file}"} {
		summary := ""
		if path == "/docs" {
			summary = "This door as a page"
		}
		d.route(http.MethodGet, path, summary, guard{operation: access.Public}, page)
	}
	health := []int{http.StatusRequestHeaderFieldsTooLarge} // and refused for nothing else
	return errors.Join(
		serve("/openapi.json", "This door as OpenAPI 3.1", access.Public, Doc{Answer: Media("application/openapi+json")},
			func(w http.ResponseWriter, r *http.Request) { Static("application/openapi+json", d.document)(w, r) }),
		serve("/livez", "200 while the process lives", access.Public, Doc{Answer: Media("text/plain"), Errors: health},
			Static("text/plain; charset=utf-8", []byte("alive\n"))),
		serve("/readyz", "200 when every part is well, and which is not", access.Public,
			Doc{Answer: readiness{}, Same: []int{http.StatusServiceUnavailable}, Errors: health},
			func(w http.ResponseWriter, r *http.Request) { Readiness(d.engine).ServeHTTP(w, r) }),
		serve("/metrics", "Metrics for Prometheus", access.MetricsRead, Doc{Answer: Media("text/plain")},
			func(w http.ResponseWriter, r *http.Request) {
				promhttp.HandlerFor(d.engine.Metrics(), promhttp.HandlerOpts{}).ServeHTTP(w, r)
			}),
	)
}

// addDocument writes the document, when all is described.
func (d *Door) addDocument() (err error) {
	d.document, err = json.Marshal(d.api.OpenAPI())
	return err
}

// addMounts adds the other doors.
func (d *Door) addMounts() error {
	for _, m := range d.opts.Mounts {
		if m.Operation != access.Public && access.Rules[m.Operation] == "" {
			return fmt.Errorf("mount %s %s: operation %q has no rule in access.Rules", m.Method, m.Pattern, m.Operation)
		}
		g, h := guard{operation: m.Operation, asks: m.Asks}, bounded(m.Handler)
		if m.Target != nil { // the path's values are known behind the mux alone
			g.asks, h = []access.Operation{m.Operation}, asking(m.Operation, m.Target, h)
		}
		d.route(m.Method, m.Pattern, m.Summary, g, h)
	}
	return nil
}

// asking lets in who may do op to the target that a request is about.
func asking(op access.Operation, target func(*http.Request) string, h http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := access.Check(r.Context(), op, target(r)); err != nil {
			WriteError(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	}
}

// bounded limits the bodies that other doors read.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, schema.MaxBody)
		h.ServeHTTP(w, r)
	})
}

// addIndex comes last: the list is complete by then.
func (d *Door) addIndex() error {
	d.route(http.MethodGet, "/{$}", "", guard{operation: access.Public}, Static("text/plain; charset=utf-8", d.index()))
	return nil
}

// Static serves a body that does not change.
func Static(contentType string, body []byte) http.HandlerFunc {
	tag := etag("", body)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		stripSuffixes(r.Header)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// readiness is the body of /readyz.
type readiness struct {
	Ready  bool            `json:"ready"`
	Checks []runtime.Check `json:"checks"`
}

// Readiness answers 200 when every part is well, else 503; in either case with what each part says.
func Readiness(e interface {
	Checks(ctx context.Context) []runtime.Check
}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, status := readiness{Ready: true, Checks: e.Checks(r.Context())}, http.StatusOK
		for _, c := range answer.Checks {
			if !c.OK {
				answer.Ready, status = false, http.StatusServiceUnavailable
			}
		}
		w.Header().Set("Cache-Control", "no-store")
		WriteJSON(w, status, answer)
	})
}

// Server is an http.Server with time limits that no slow or idle client can outstay. What streams lifts the write
// limit for itself, by an http.ResponseController.
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
