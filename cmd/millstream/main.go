// Command millstream is the order system on the engine: the domain's lists, handed to the command line.
package main

import (
	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/cli"
	"github.com/millstream-es/millstream/api/graphql"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
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
	cli.Main(domain, millstream.NATSConf, cli.Quickstart(quickstart...), cli.Demo(demo), cli.WithDoor(openGraphQL))
}

func openGraphQL(e *runtime.Engine, o cli.DoorOptions) (cli.Door, error) {
	return graphql.New(e, graphql.Options{Dev: o.Dev, TrustedOrigins: o.TrustedOrigins, Logger: o.Logger}), nil
}
