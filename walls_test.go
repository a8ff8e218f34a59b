package millstream_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/millstream-es/millstream"

// house says which folders of this module each top folder may import, and why no others. Everything may import es
// and money besides.
var house = map[string]struct {
	imports []string
	why     string
}{
	".":          {nil, "the root package embeds nats.conf and nothing else"},
	"money":      {nil, "money is a value: it knows nothing of the system around it"},
	"es":         {[]string{"es"}, "the engine knows no order: it serves any domain and any door"},
	"events":     {nil, "facts outlive everything: they lean on nothing that may change"},
	"commands":   {[]string{"events"}, "decisions are pure: they see wishes and facts, so that they can be tested and replayed without the machinery"},
	"projectors": {[]string{"events"}, "a read model is the fold of facts: how they came to be is not its business"},
	"sagas":      {[]string{"events", "commands"}, "a process sees facts and sends wishes; what carries them is the engine's"},
	"gateways":   {[]string{"events", "commands"}, "a gateway takes a fact and sends a wish back; what carries them is the engine's"},
	"queries":    {nil, "a question reads tables and returns its own types: facts and decisions may change without it"},
	"api":        {[]string{"es", "api"}, "doors are generated from the lists: one that knows an order must change with every order"},
	"cmd":        {[]string{".", "es", "events", "commands", "projectors", "sagas", "gateways", "queries", "api"}, "cmd wires"},
}

// exceptions are folders that may import more than their top folder.
var exceptions = map[string][]string{
	"api/graphql": {"queries", "commands"}, // its schema is designed by hand, and binds to their types so that there is no second copy of them
}

var domainFolders = []string{"events", "commands", "projectors", "sagas", "gateways", "queries"}

// machinery is what the domain folders must not import from outside the module.
var machinery = []struct{ prefix, why string }{
	{"github.com/nats-io/", "the domain knows nothing of NATS"},
	{"github.com/ThreeDotsLabs/", "the domain knows nothing of Watermill: messages are the engine's"},
	{"github.com/mattn/go-sqlite3", "the domain knows no SQL driver: it gets an es.Tx or es.Reader"},
	{"database/sql/driver", "the domain knows no SQL driver: it gets an es.Tx or es.Reader"},
	{"github.com/danielgtaylor/huma", "the domain serves no HTTP: doors are in api"},
	{"net/http/httptest", "the domain serves no HTTP: doors are in api"},
	{"net/rpc", "the domain serves nobody: doors are in api"},
}

// servers are the names in net/http that a client has no use for.
var servers = []string{"Server", "ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS", "Handle", "HandleFunc",
	"Handler", "HandlerFunc", "NewServeMux", "ServeMux", "DefaultServeMux", "ResponseWriter"}

// forbidden says why a package (its folder, slash-separated, relative to the module) must not import a path; ""
// when it may.
func forbidden(folder, path string) string {
	top, _, _ := strings.Cut(folder, "/")
	wall, known := house[top]
	if !known {
		return "folder " + top + " has no place in the house yet: say in walls_test.go what it may import"
	}
	inner, ours := strings.CutPrefix(path, module)
	if !ours || inner != "" && inner[0] != '/' {
		return outside(folder, top, path)
	}
	inner = strings.TrimPrefix(inner, "/")
	if inner == "es" && folder != "es" && top != "money" && top != "." || inner == "money" && folder != "es" && top != "money" && top != "." {
		return ""
	}
	if folder == "es" {
		return "the core is a vocabulary: it imports the standard library only"
	}
	target, _, nested := strings.Cut(inner, "/")
	if target == "" {
		target = "."
	}
	if target == "money" && nested || !slices.Contains(wall.imports, target) && !slices.Contains(exceptions[folder], inner) {
		return wall.why
	}
	return ""
}

// outside judges imports of the standard library and of other modules.
func outside(folder, top, path string) string {
	first, _, _ := strings.Cut(path, "/")
	foreign := strings.Contains(first, ".")
	if foreign && (folder == "es" || top == "money" || folder == ".") {
		return "it imports the standard library only, so that whoever imports it takes on nothing else"
	}
	if !slices.Contains(domainFolders, top) {
		return ""
	}
	if path == "net/http" && top != "gateways" {
		return "the domain knows nothing of HTTP; only gateways may call out"
	}
	for _, m := range machinery {
		if strings.HasPrefix(path, m.prefix) {
			return m.why
		}
	}
	return ""
}

func TestWallsOfTheHouse(t *testing.T) {
	t.Parallel()
	for folder, files := range packages(t) {
		for _, f := range files {
			for _, i := range f.Imports {
				path := strings.Trim(i.Path.Value, "`\"")
				if why := forbidden(folder, path); why != "" {
					t.Errorf("%s must not import %s: %s", f.name, path, why)
				}
			}
			if strings.HasPrefix(folder, "gateways") {
				for _, name := range uses(f.File, "net/http", servers) {
					t.Errorf("%s must not use http.%s: gateways call out, doors are in api", f.name, name)
				}
			}
		}
	}
}

func TestEveryPackageHasOnePackageComment(t *testing.T) {
	t.Parallel()
	for folder, files := range packages(t) {
		var commented []string
		for _, f := range files {
			text := f.Doc.Text()
			if text == "" {
				continue
			}
			commented = append(commented, f.name)
			if begin := "Package " + f.Name.Name + " "; f.Name.Name != "main" && !strings.HasPrefix(text, begin) {
				t.Errorf("%s: the package comment must begin with %q", f.name, begin)
			}
		}
		if len(commented) != 1 {
			t.Errorf("package %s has %d package comments %v: it must have one", folder, len(commented), commented)
		}
	}
}

// The walls themselves, tried with what must and must not pass.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		folder, path string
		ok           bool
	}{
		{"es", "encoding/json", true},
		{"es", "database/sql", true},
		{"es", "github.com/google/uuid", false},
		{"es", module + "/money", false},
		{"es", module + "/es/schema", false},
		{"money", "math/big", true},
		{"money", module + "/es", false},
		{"money", "github.com/google/uuid", false},
		{".", module + "/es", false},
		{"es/runtime", module + "/es", true},
		{"es/runtime", module + "/es/natsstore", true},
		{"es/runtime", "github.com/nats-io/nats.go", true},
		{"es/schema", module + "/money", true},
		{"es/runtime", module + "/events", false},
		{"es/ops", module + "/api/rest", false},
		{"es/natsstore", module, false},
		{"events", module + "/es", true},
		{"events", module + "/money", true},
		{"events", module + "/commands", false},
		{"commands", module + "/events", true},
		{"commands", module + "/es/schema", false},
		{"commands", module + "/es/runtime", false},
		{"commands", "net/http", false},
		{"projectors", "database/sql", true},
		{"projectors", module + "/events", true},
		{"projectors", module + "/commands", false},
		{"projectors", module + "/es/readmodel", false},
		{"projectors", "github.com/mattn/go-sqlite3", false},
		{"sagas", module + "/commands", true},
		{"sagas", module + "/queries", false},
		{"sagas", "github.com/nats-io/nats.go/jetstream", false},
		{"gateways", "net/http", true},
		{"gateways", "net/smtp", true},
		{"gateways", module + "/es/natsstore", false},
		{"queries", module + "/es", true},
		{"queries", module + "/events", false},
		{"api/rest", module + "/es/schema", true},
		{"api/cli", module + "/api/rest", true},
		{"api/rest", module + "/commands", false},
		{"api/graphql", module + "/commands", true},
		{"api/graphql", module + "/queries", true},
		{"api/graphql", module + "/projectors", false},
		{"api/cli", module, false},
		{"cmd/millstream", module, true},
		{"cmd/millstream", module + "/api/cli", true},
		{"cmd/millstream", module + "/commands", true},
		{"elsewhere", "fmt", false},
	} {
		if why := forbidden(c.folder, c.path); (why == "") != c.ok {
			t.Errorf("%s importing %s: allowed must be %v, the reason given is %q", c.folder, c.path, c.ok, why)
		}
	}
}

type source struct {
	*ast.File
	name string
}

// packages parses every file of the module that is no test, by folder; other modules below it are left out. It
// asks no go list: what that prints is not part of the test cache's key, so a broken wall would stay green.
func packages(t *testing.T) map[string][]source {
	t.Helper()
	found := map[string][]source{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != "." {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		folder := filepath.ToSlash(filepath.Dir(path))
		found[folder] = append(found[folder], source{file, filepath.ToSlash(path)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found["es"]) == 0 {
		t.Fatal("no file of es was found: the test must run in the module's root")
	}
	return found
}

// uses lists which of the names a file takes from a package.
func uses(f *ast.File, path string, names []string) []string {
	local := ""
	for _, i := range f.Imports {
		if strings.Trim(i.Path.Value, "`\"") == path {
			local = filepath.Base(path)
			if i.Name != nil {
				local = i.Name.Name
			}
		}
	}
	var used []string
	if local == "" {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local && slices.Contains(names, s.Sel.Name) {
				used = append(used, s.Sel.Name)
			}
		}
		return true
	})
	return used
}
