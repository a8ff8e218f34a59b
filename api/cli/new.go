package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/millstream-es/millstream/api/cli/scaffold"
	"github.com/millstream-es/millstream/es/runtime"
)

type newCmd struct {
	Name    string `arg:"" help:"Name of the domain, its command and its folder, like library."`
	Module  string `placeholder:"PATH" help:"Its module path. Default: example.com/NAME."`
	Dir     string `type:"path" placeholder:"DIR" help:"Where to write it; must be empty. Default: ./NAME."`
	Replace string `type:"path" placeholder:"DIR" help:"Stand on the engine in this directory instead of the published one."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// Help is kong's text below the usage.
func (newCmd) Help() string {
	return `Writes a Go module that stands on the engine, with an aggregate, a saga, a read model, a query and tests that pass: a lending
library, to begin your own from. Its command line has all these verbs.

  millstream new library
  cd library && go mod tidy && go test ./... && go run . dev`
}

// created is what new prints as JSON.
type created struct {
	Name   string   `json:"name"`
	Module string   `json:"module"`
	Dir    string   `json:"dir"`
	Files  []string `json:"files"`
}

// Run is called by kong.
func (c *newCmd) Run(a *app) error {
	m := scaffold.Module{Name: c.Name, Path: cmp.Or(c.Module, "example.com/"+c.Name), Version: runtime.Version, Replace: c.Replace}
	if err := m.Check(); err != nil {
		return usageError{err}
	}
	if c.Replace != "" {
		if _, err := os.Stat(filepath.Join(c.Replace, "es", "es.go")); err != nil {
			return usageError{fmt.Errorf("--replace %s does not hold the engine: %w", c.Replace, err)}
		}
	}
	dir := cmp.Or(c.Dir, absolute(c.Name))
	files, err := m.Write(dir)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(created{m.Name, m.Path, dir, files})
	}
	for _, file := range files {
		_, failed := fmt.Fprintln(a.stdout, file)
		err = errors.Join(err, failed)
	}
	fmt.Fprintf(a.stderr, "next: cd %s && go mod tidy && go test ./... && go run . dev\n", dir)
	return err
}
