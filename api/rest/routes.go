package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/swaggest/swgui/v5emb"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// routes remembers what was registered, to say what was probably meant and what is here.
type routes []route

type route struct {
	access.Route
	summary string
}

// unknown is the 404 for a path, with the nearest one that exists.
func (l routes) unknown(method, path string) *es.Problem {
	p := &es.Problem{Status: http.StatusNotFound, Code: "unknown_path"}
	given := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var first, last []string
	for _, known := range l {
		segments := strings.Split(known.Path[1:], "/")
		if !slices.Contains(first, segments[0]) && !strings.ContainsAny(segments[0], "{}") {
			first = append(first, segments[0])
		}
		if known.Method == method && segments[0] == given[0] && len(segments) == 3 && !strings.ContainsAny(segments[2], "{}") {
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
func (d *Door) index() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on Millstream\n\n/docs shows all of this as a page, /openapi.json as OpenAPI 3.1.\n\n", d.domain.Name)
	for _, r := range d.routes {
		if !strings.HasPrefix(r.Path, "/docs/") {
			method := r.Method
			if method == "" {
				method = "any"
			}
			fmt.Fprintf(&b, "%-4s %-45s %s\n", method, r.Path, r.summary)
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
