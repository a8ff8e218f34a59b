package cli

import (
	"github.com/millstream-es/millstream/api/asyncapi"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

type asyncapiCmd struct {
	JSON bool `name:"json" help:"Print it on one line."`
}

// Help is kong's text below the usage.
func (asyncapiCmd) Help() string {
	return `Commands, queries and events over NATS. A running process serves the same at /asyncapi.json.

  millstream asyncapi > asyncapi.json`
}

// Run is called by kong.
func (c *asyncapiCmd) Run(a *app) error {
	schemas, err := schema.New(a.domain)
	if err != nil {
		return err
	}
	document, err := asyncapi.Document(a.domain, schemas, runtime.Version)
	if err != nil {
		return err
	}
	return a.printDocument(document, c.JSON)
}
