package graphql

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed playground
var playgroundFiles embed.FS

//go:embed *.graphqls
var schemaFiles embed.FS

// playground is a page to try GraphQL on, for dev: plain files, nothing from elsewhere.
func playground() http.Handler {
	files, err := fs.Sub(playgroundFiles, "playground")
	if err != nil {
		panic(err) // embedded
	}
	serve := http.StripPrefix("/graphql/playground", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "no-cache")
		if r.URL.Path == "/graphql/playground" { // a file server would send on to a path with a slash
			http.ServeFileFS(w, r, files, "index.html")
			return
		}
		serve.ServeHTTP(w, r)
	})
}

// serveSchema sends the schema as it was written.
func serveSchema(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	var text strings.Builder
	for _, name := range []string{"schema", "orders", "stock", "accounts", "sales", "commands"} {
		part, err := schemaFiles.ReadFile(name + ".graphqls")
		if err != nil {
			panic(err) // embedded
		}
		text.Write(part)
		text.WriteByte('\n')
	}
	w.Write([]byte(strings.TrimSpace(text.String()) + "\n")) //nolint:errcheck // the client has gone; nobody is left to tell
}
