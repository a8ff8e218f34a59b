package rest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"

	"github.com/klauspost/compress/gzhttp"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// guard is what holds for a route before its handler sees a request.
type guard struct {
	operation access.Operation
	target    string // of the operation; "" = none
	// asks are the operations of a handler that itself asks access.Check, once it knows the target; whoever may do one of
	// them to something is let in to it.
	asks      []access.Operation
	uncounted bool // requests do not count against the caller's rate
}

// addGuards makes what every request passes.
func (d *Door) addGuards() (err error) {
	d.limits = newLimiter(d.opts.Rate)
	if d.origins, err = newOrigins(d.opts.TrustedOrigins); err != nil {
		return err
	}
	zip, err := gzhttp.NewWrapper(gzhttp.EnableZstd(false), gzhttp.SuffixETag(gzipSuffix), gzhttp.MinSize(1400))
	if err != nil {
		return err
	}
	d.zipped = zip(d.mux)
	return nil
}

// ServeHTTP answers every request, with a problem where there is no handler.
func (d *Door) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	r = traced(r, d.opts.Logger)
	proxies(d.opts.TrustedProxies).forwarded(r)
	w := &watched{ResponseWriter: out}
	defer recoverFrom(w, r)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set(headerRequestID, traceOf(r).request)
	d.origins.allow(w, r)
	if err := d.origins.protection.Check(r); err != nil {
		WriteProblem(w, r, &es.Problem{Status: http.StatusForbidden, Code: "cross_origin",
			Message: "this request comes from a page of another origin: list that origin as trusted or send it from elsewhere"})
		return
	}
	_, pattern := d.mux.Handler(r)
	g, known := d.guards[pattern]
	if r.Method == http.MethodOptions && (!known || isPreflight(r)) {
		d.options(w, r, known)
		return
	}
	r, ok := d.admit(w, r, g)
	switch {
	case !ok:
	case !known:
		d.unknown(w, r)
	case stands(g) || r.Header.Get("Upgrade") != "": // compression would hold events back
		d.mux.ServeHTTP(w, r)
	default:
		d.zipped.ServeHTTP(w, r)
	}
}

// check asks whether the caller in ctx may.
func (g guard) check(ctx context.Context) error {
	if len(g.asks) > 0 {
		return access.CheckAny(ctx, g.asks...)
	}
	return access.Check(ctx, g.operation, g.target)
}

// admit finds out who is calling, counts the request and asks whether they may. It is the one place that does.
func (d *Door) admit(w http.ResponseWriter, r *http.Request, g guard) (*http.Request, bool) {
	caller := addressOf(r)
	given := r.Header
	if stands(g) {
		given = given.Clone()
	}
	var refused error
	if g.operation != access.Public {
		principal, err := d.opts.Authenticator.Authenticate(r)
		switch {
		case err == nil:
			caller = "user " + principal.Name
			r = r.WithContext(access.With(r.Context(), principal))
		case !errors.Is(err, access.ErrNoCredentials):
			refused = err
		}
	}
	if !g.uncounted && !d.count(w, r, caller) {
		return r, false
	}
	if refused == nil && g.operation != "" {
		refused = g.check(r.Context())
	}
	if _, known := access.From(r.Context()); refused == nil && g.operation == "" && !known {
		refused = &access.UnauthenticatedError{Reason: "this needs a caller who is known"}
	}
	if refused != nil {
		WriteError(w, r, refused)
		return r, false
	}
	if stands(g) {
		r = d.stand(r, given, g, caller)
	}
	return r, true
}

// unknown answers what the mux does not know, with problems instead of plain text.
func (d *Door) unknown(w http.ResponseWriter, r *http.Request) {
	if allowed := d.allowed(r); allowed != "" {
		w.Header().Set("Allow", allowed)
		WriteProblem(w, r, &es.Problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Message: fmt.Sprintf("%s is not for %s: use %s", clip(r.Method), clip(r.URL.Path), allowed)})
		return
	}
	WriteProblem(w, r, d.routes.unknown(r.Method, r.URL.Path))
}

// allowed lists the methods of a path, for a request with another method; "": there is no such path.
func (d *Door) allowed(r *http.Request) string {
	plain := &discarded{header: http.Header{}}
	handler, _ := d.mux.Handler(r)
	handler.ServeHTTP(plain, r)
	if plain.status != http.StatusMethodNotAllowed {
		return ""
	}
	return plain.header.Get("Allow") + ", OPTIONS"
}

// options answers OPTIONS, which asks nobody who they are: a browser sends it without credentials.
func (d *Door) options(w http.ResponseWriter, r *http.Request, anyMethod bool) {
	methods := "GET, HEAD, POST, OPTIONS"
	if !anyMethod {
		methods = d.allowed(r)
	}
	if methods == "" && r.URL.Path != "*" {
		WriteProblem(w, r, d.routes.unknown(r.Method, r.URL.Path))
		return
	}
	if methods != "" {
		w.Header().Set("Allow", methods)
		d.origins.preflight(w, r, methods)
	}
	w.WriteHeader(http.StatusNoContent)
}

// discarded keeps the head of an answer that is not sent.
type discarded struct {
	header http.Header
	status int
}

func (w *discarded) Header() http.Header            { return w.header }
func (w *discarded) WriteHeader(status int)         { w.status = status }
func (w *discarded) Write(data []byte) (int, error) { return len(data), nil }

// watched knows whether an answer has begun.
type watched struct {
	http.ResponseWriter
	begun bool
}

func (w *watched) WriteHeader(status int) {
	w.begun = w.begun || status >= http.StatusOK || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(data []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(data)
}

// Flush serves gzhttp, which looks for it here.
func (w *watched) Flush() {
	w.begun = true
	http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap serves http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// recoverFrom turns a panic into a 500 that shows nothing of the inside, or ends the connection of a begun answer.
func recoverFrom(w *watched, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	traceOf(r).fault(r, "request panicked", "panic", p, "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	for _, name := range []string{"ETag", "Link", "Content-Encoding", "Millstream-Revision"} {
		w.Header().Del(name)
	}
	WriteProblem(w, r, &es.Problem{Status: http.StatusInternalServerError, Code: "internal",
		Message: "the server failed to answer; its log says why"})
}

const headerRequestID = "X-Request-Id"

// trace names a request in logs and problems.
type trace struct {
	id      string // W3C trace id
	parent  string // the caller's traceparent; "" = none that parses
	request string // the caller's X-Request-Id, else the trace id
	log     *slog.Logger
}

// fault logs what the caller is not shown.
func (t trace) fault(r *http.Request, what string, with ...any) {
	t.log.ErrorContext(r.Context(), what, append([]any{"method", r.Method, "path", r.URL.Path, "trace", t.id, "request", t.request}, with...)...)
}

type traceKey struct{}

var (
	traceparent = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$`)
	requestID   = regexp.MustCompile(`^[A-Za-z0-9._:/+=-]{1,128}$`)
)

// traced names a request. A traceparent that does not parse is ignored and the trace begun anew: W3C Trace Context,
// 3.2.2.
func traced(r *http.Request, log *slog.Logger) *http.Request {
	t := trace{request: r.Header.Get(headerRequestID), log: log}
	if m := traceparent.FindStringSubmatch(r.Header.Get(runtime.HeaderTraceparent)); m != nil {
		t.parent, t.id = m[0], m[1]
	} else {
		var id [16]byte
		rand.Read(id[:])
		t.id = hex.EncodeToString(id[:])
	}
	if !requestID.MatchString(t.request) {
		t.request = t.id
	}
	return r.WithContext(context.WithValue(r.Context(), traceKey{}, t))
}

// Trace is a request's trace id, which problems show, and the traceparent of its caller ("": none), which commands carry
// on. Both are empty where no Door has seen the request.
func Trace(ctx context.Context) (id, parent string) {
	t, _ := ctx.Value(traceKey{}).(trace)
	return t.id, t.parent
}

// traceOf returns the name of a request that came through a Door; of another, an empty one.
func traceOf(r *http.Request) trace {
	if t, ok := r.Context().Value(traceKey{}).(trace); ok {
		return t
	}
	return trace{log: slog.Default()}
}
