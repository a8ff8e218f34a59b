// Command millstream is the order system on the engine: the domain's lists, handed to the command line.
package main

import (
	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/cli"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/gateways"
	"github.com/millstream-es/millstream/projectors"
	"github.com/millstream-es/millstream/queries"
	"github.com/millstream-es/millstream/sagas"
)

var domain = es.Domain{
	Name:       "millstream",
	Events:     events.All,
	Aggregates: commands.All,
	Sagas:      sagas.All,
	Gateways:   gateways.All,
	Projectors: projectors.All,
	Queries:    queries.All,
}

func main() {
	cli.Main(domain, millstream.NATSConf, cli.Quickstart(quickstart...), cli.Demo(demo))
}
