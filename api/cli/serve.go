package cli

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

type serveCmd struct {
	nodeFlags
	clientFlags
	authFlags
	NATS       string         `name:"nats" placeholder:"HOST:PORT" help:"Embed the server here instead of connecting to --server: a deploy of one node. Everyone who connects needs a password, see nats.conf."`
	Rate       float64        `default:"500" placeholder:"N" help:"HTTP requests a second that one caller may make, twice as many at once; 0: any."`
	Replicas   int            `default:"3" help:"Copies of each stream, when this process creates it."`
	Roles      []runtime.Role `enum:"commands,projectors,sagas,gateways,api" placeholder:"ROLE,…" help:"What this process does: ${enum}. Default: all."`
	Durability es.Durability  `enum:"durable,fast" default:"durable" help:"What the servers' acknowledgement means, which replies repeat: durable or fast. With --nats the engine sees to it itself; other servers cannot be asked, so it is your word that they have sync_interval: always, as in nats.conf."`
}

// Help is kong's text below the usage.
func (serveCmd) Help() string {
	return `Connect as a user of the account that owns the streams: user engine in nats.conf. Any number of processes share the
work; each has read models of its own in --data.

Whoever comes in by HTTP says who they are, by an API key or a JWT. The first key:

  millstream keys create NAME --role admin`
}

// Run is called by kong.
func (s *serveCmd) Run(ctx context.Context, a *app, log *slog.Logger) error {
	spendMemory(log)
	known, err := s.callers(ctx, log)
	if err != nil {
		return err
	}
	s.warnOfPlainHTTP(s.HTTP, log)
	if s.NATS != "" {
		return s.embedded(ctx, a, known, log)
	}
	var url atomic.Value
	return s.node(a, known, log, runtime.Config{
		Connect: func(...nats.Option) (*nats.Conn, error) {
			nc, err := s.connect(a.domain.Name)
			if err == nil {
				url.Store(natsstore.ConnectedTo(nc))
			}
			return nc, err
		},
		Replicas: s.Replicas,
	}, func() string {
		connected, _ := url.Load().(string)
		return connected
	}).run(ctx)
}

// embedded is a deploy of one node: the log is in this process, and one sync makes many replies durable.
func (s *serveCmd) embedded(ctx context.Context, a *app, known callers, log *slog.Logger) error {
	server, err := a.embed(s.NATS, s.Data, s.Durability, true, log)
	if err != nil {
		return err
	}
	defer server.Shutdown()
	return s.node(a, known, log, runtime.Config{
		Connect: server.Connect,
		Syncer:  server.Syncer(),
		Health:  server.Healthy,
		Forget:  server.ForgetConsumer,
		Sync:    server.Sync,
	}, server.ClientURL).run(ctx)
}

func (s *serveCmd) node(a *app, known callers, log *slog.Logger, config runtime.Config, url func() string) node {
	config.Domain, config.Roles, config.Durability, config.Authorize = a.domain, s.Roles, s.Durability, s.authorize
	perSecond := s.Rate
	if perSecond == 0 {
		perSecond = -1 // any
	}
	return node{
		flags: s.nodeFlags, config: config, log: log, callers: known, doors: a.doors,
		rest: rest.Options{Rate: perSecond, Version: runtime.Version, Logger: log},
		started: func(_ context.Context, _ *runtime.Engine, http string) error {
			r := ready{NATS: url(), HTTP: http, Data: absolute(s.Data)}
			if s.JSON {
				return a.printJSON(r)
			}
			log.Info("ready", "nats", r.NATS, "http", r.HTTP, "data", r.Data, "durability", string(s.Durability))
			return nil
		},
	}
}
