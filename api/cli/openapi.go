package cli

import (
	"bytes"
	"encoding/json"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es/runtime"
)

type openapiCmd struct {
	JSON bool `name:"json" help:"Print it on one line."`
}

// Help is kong's text below the usage.
func (openapiCmd) Help() string {
	return `A running process serves the same at /openapi.json. To make a client of it:

  millstream openapi > openapi.json`
}

// Run is called by kong.
func (c *openapiCmd) Run(a *app) error {
	mounts, err := a.describedMounts()
	if err != nil {
		return err
	}
	document, err := rest.OpenAPI(a.domain, runtime.Version, mounts)
	if err != nil {
		return err
	}
	return a.printDocument(document, c.JSON)
}

// printDocument prints JSON, indented unless it is to stand on one line.
func (a *app) printDocument(document []byte, oneLine bool) error {
	var text bytes.Buffer
	if oneLine {
		text.Write(document)
	} else if err := json.Indent(&text, document, "", "  "); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err := a.stdout.Write(text.Bytes())
	return err
}
