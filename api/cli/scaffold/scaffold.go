// Package scaffold writes a module that stands on the engine: a lending library with one aggregate, one saga, one read
// model and their tests, to begin a system of one's own from. docs/example is what it writes.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

//go:embed templates/*.tmpl
var templates embed.FS

// files are the templates by what they become; NAME stands for the module's name.
var files = []struct{ template, file string }{
	{"go.mod.tmpl", "go.mod"},
	{"module.go.tmpl", "NAME.go"},
	{"module_test.go.tmpl", "NAME_test.go"},
	{"README.md.tmpl", "README.md"},
	{"gitignore.tmpl", ".gitignore"},
}

// Module is what to write.
type Module struct {
	Name    string // of the domain, its binary and its main Go file, like library
	Path    string // its module path, like example.com/library
	Version string // of the engine it stands on, like 0.1.0
	Replace string // a directory that holds the engine; "": the published one
}

var name = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)

// Check reports every fault at once.
func (m Module) Check() error {
	var errs []error
	switch {
	case !name.MatchString(m.Name):
		errs = append(errs, fmt.Errorf("name %q: expected small letters and digits, a letter first, 32 at most, like library", m.Name))
	case token.IsKeyword(m.Name) || types.Universe.Lookup(m.Name) != nil:
		errs = append(errs, fmt.Errorf("name %q means something in Go: choose another", m.Name))
	default:
		taken, err := identifiers()
		if err != nil {
			return err
		}
		if taken[m.Name] {
			errs = append(errs, fmt.Errorf("name %q is used for something else in the code that is written: choose another", m.Name))
		}
	}
	if err := module.CheckImportPath(m.Path); err != nil {
		errs = append(errs, fmt.Errorf("module: %w", err))
	}
	return errors.Join(errs...)
}

// Write writes the module into a directory, which is made when it is missing and must be empty, and returns the files'
// names. A fault of the module writes nothing.
func (m Module) Write(dir string) ([]string, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	if m.Replace != "" {
		m.Replace = modfile.AutoQuote(m.Replace)
	}
	contents := make([][]byte, len(files))
	for i, f := range files {
		var err error
		if contents[i], err = m.render(f.template); err != nil {
			return nil, err
		}
	}
	found, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(found) > 0 {
		return nil, fmt.Errorf("%s is not empty, %s is there: choose another directory with --dir", dir, found[0].Name())
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var written []string
	for i, f := range files {
		file := filepath.Join(dir, strings.Replace(f.file, "NAME", m.Name, 1))
		if err := os.WriteFile(file, contents[i], 0o644); err != nil {
			return written, err
		}
		written = append(written, file)
	}
	return written, nil
}

func (m Module) render(file string) ([]byte, error) {
	t, err := template.ParseFS(templates, "templates/"+file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, m)
	return out.Bytes(), err
}

// identifiers are the names that the written Go code uses, the module's own left out.
func identifiers() (map[string]bool, error) {
	const own = "ownName"
	used := map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.file, ".go") {
			continue
		}
		source, err := Module{Name: own}.render(f.template)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.file, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, is := n.(*ast.Ident); is {
				used[id.Name] = true
			}
			return true
		})
		for _, i := range file.Imports { // a package's name is the end of its path
			path := strings.Trim(i.Path.Value, `"`)
			used[path[strings.LastIndex(path, "/")+1:]] = true
		}
	}
	delete(used, own)
	return used, nil
}
