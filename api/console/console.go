// Package console is the operators' page at /console: plain HTML, CSS and ES modules, embedded in the program. It holds
// no data and knows no domain: the page asks the other doors, as the caller who looks at it, and learns from them what
// there is.
package console

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
)

//go:embed assets
var assets embed.FS

// policy lets nothing run or load but the files beside the page, and no text become markup: nothing may make any of a
// string (trusted types).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// types are those of the files, whatever the machine believes.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json",
}

// Mounts are the console's routes. They ask for nobody: what they serve is the same for everyone.
func Mounts() []rest.Mount {
	files := load()
	page := files["index.html"]
	delete(files, "index.html")
	get := func(pattern, summary string, h http.Handler) rest.Mount {
		return rest.Mount{Method: http.MethodGet, Pattern: pattern, Operation: access.Public, Summary: summary, Handler: guarded(h)}
	}
	return []rest.Mount{
		get("/console", "The operators' pages", http.RedirectHandler("/console/", http.StatusPermanentRedirect)),
		get("/console/{page...}", "", page), // the page knows from its address what to show
		get("/console/assets/{file}", "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if h, ok := files[r.PathValue("file")]; ok {
				h.ServeHTTP(w, r)
				return
			}
			rest.WriteProblem(w, r, &es.Problem{Status: http.StatusNotFound, Code: "unknown_file",
				Message: fmt.Sprintf("the console has no file %.64q", r.PathValue("file"))})
		})),
	}
}

// guarded says what a page may do.
func guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		h.ServeHTTP(w, r)
	})
}

// load reads every file, by name. rules.json is access.Rules: with it the page shows beforehand what its caller may not
// do.
func load() map[string]http.Handler {
	rules, err := json.Marshal(map[string]any{"roles": access.Roles, "rules": access.Rules})
	if err != nil {
		panic(err) // texts have JSON
	}
	files := map[string]http.Handler{"rules.json": rest.Static(types[".json"], rules)}
	err = fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := assets.ReadFile(name)
		files[path.Base(name)] = rest.Static(types[path.Ext(name)], data)
		return err
	})
	if err != nil {
		panic(err) // embedded
	}
	return files
}
