package rest

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/swaggest/swgui/v5emb"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// routes remembers what was registered, to say what was probably meant and what is here.
type routes []route

type route struct{ method, path string }

func (l *routes) add(method, path string) { *l = append(*l, route{method, path}) }

// guarded wraps the mux in what holds for every request.
func (d *door) guarded() (http.Handler, error) {
	origins := http.NewCrossOriginProtection()
	var errs []error
	for _, o := range d.opts.TrustedOrigins {
		errs = append(errs, origins.AddTrustedOrigin(o))
	}
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.refuse(w, &es.Problem{Status: http.StatusForbidden, Code: "cross_origin",
			Message: "this request comes from a page of another origin: list that origin as trusted or send it from elsewhere"})
	}))
	inner := origins.Handler(http.HandlerFunc(d.dispatch))
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w := &watched{ResponseWriter: out}
		defer d.recover(w, r)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		inner.ServeHTTP(w, r)
	}), errors.Join(errs...)
}

// watched knows whether an answer has begun.
type watched struct {
	http.ResponseWriter
	begun bool
}

func (w *watched) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(data []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(data)
}

// Unwrap serves http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// recover turns a panic into a 500 that shows nothing of the inside, or ends the connection of a begun answer.
func (d *door) recover(w *watched, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	d.opts.Logger.ErrorContext(r.Context(), "request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	w.Header().Del("ETag")
	w.Header().Del("Millstream-Revision")
	d.refuse(w, &es.Problem{Status: http.StatusInternalServerError, Code: "internal",
		Message: "the server failed to answer; its log says why"})
}

// dispatch answers what the mux does not know with problems instead of plain text.
func (d *door) dispatch(w http.ResponseWriter, r *http.Request) {
	handler, pattern := d.mux.Handler(r)
	if pattern != "" {
		d.mux.ServeHTTP(w, r)
		return
	}
	plain := &discarded{header: http.Header{}}
	handler.ServeHTTP(plain, r)
	if allowed := plain.header.Get("Allow"); plain.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allowed)
		d.refuse(w, &es.Problem{Status: plain.status, Code: "method_not_allowed",
			Message: fmt.Sprintf("%s is not for %s: use %s", clip(r.Method), clip(r.URL.Path), allowed)})
		return
	}
	d.refuse(w, d.routes.unknown(r.Method, r.URL.Path))
}

// discarded keeps the head of an answer that is not sent.
type discarded struct {
	header http.Header
	status int
}

func (w *discarded) Header() http.Header            { return w.header }
func (w *discarded) WriteHeader(status int)         { w.status = status }
func (w *discarded) Write(data []byte) (int, error) { return len(data), nil }

// unknown is the 404 for a path, with the nearest one that exists.
func (l routes) unknown(method, path string) *es.Problem {
	p := &es.Problem{Status: http.StatusNotFound, Code: "unknown_path"}
	given := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var first, last []string
	for _, known := range l {
		segments := strings.Split(known.path[1:], "/")
		if !slices.Contains(first, segments[0]) && !strings.ContainsAny(segments[0], "{}") {
			first = append(first, segments[0])
		}
		if known.method == method && segments[0] == given[0] && len(segments) == 3 && !strings.ContainsAny(segments[2], "{}") {
			last = append(last, segments[2])
		}
	}
	if !slices.Contains(first, given[0]) {
		if method == http.MethodPost {
			p.Code = "unknown_category"
		}
		p.Message = fmt.Sprintf("there is nothing at %s: / lists what is here", clip(path))
		if near, ok := schema.Closest(given[0], first); ok {
			given[0] = near
			p.Message = fmt.Sprintf("there is nothing at %s: did you mean /%s?", clip(path), clip(strings.Join(given, "/")))
		}
		return p
	}
	kind := "path"
	if method == http.MethodPost {
		kind, p.Code = "command", "unknown_command"
	}
	if len(given) != 3 || len(last) == 0 {
		p.Message = fmt.Sprintf("there is nothing at %s: / lists what is here", clip(path))
		return p
	}
	p.Message = fmt.Sprintf("unknown %s %q of %s: known are %s", kind, clip(given[2]), given[0], strings.Join(last, ", "))
	if near, ok := schema.Closest(kebab(given[2]), last); ok {
		p.Message = fmt.Sprintf("unknown %s %q of %s: did you mean %s?", kind, clip(given[2]), given[0], near)
	}
	return p
}

// index is the text at /.
func (d *door) index() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on Millstream\n\n/docs shows all of this as a page, /openapi.json as OpenAPI 3.1.\n\n", d.domain.Name)
	for _, r := range d.routes {
		if r.path != "/{$}" && !strings.HasPrefix(r.path, "/docs/") {
			fmt.Fprintf(&b, "%-4s %s\n", r.method, r.path)
		}
	}
	return []byte(b.String())
}

// docs is the page that shows /openapi.json, with its assets, all embedded in the program.
func docs(title string) http.HandlerFunc {
	page := v5emb.New(title, "/openapi.json", "/docs/")
	// The page's own script and style stand inline in it.
	const policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
		"img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		page.ServeHTTP(w, r)
	}
}
