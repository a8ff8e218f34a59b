package cli

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

type serveCmd struct {
	nodeFlags
	clientFlags
	Replicas   int            `default:"3" help:"Copies of each stream, when this process creates it."`
	Roles      []runtime.Role `enum:"commands,projectors,sagas,gateways,api" placeholder:"ROLE,…" help:"What this process does: ${enum}. Default: all."`
	Durability es.Durability  `enum:"durable,fast" default:"durable" help:"What the servers' acknowledgement means, which replies repeat: durable (sync_interval: always, as in nats.conf) or fast. A client cannot ask the servers, so this is your word."`
}

// Help is kong's text below the usage.
func (serveCmd) Help() string {
	return `Connect as a user of the account that owns the streams: user engine in nats.conf. Any number of processes share the
work; each has read models of its own in --data. HTTP does not ask who comes in yet, so it listens on loopback.`
}

// Run is called by kong.
func (s *serveCmd) Run(ctx context.Context, a *app, log *slog.Logger) error {
	var url atomic.Value
	return node{
		flags: s.nodeFlags,
		config: runtime.Config{
			Domain: a.domain,
			Connect: func() (*nats.Conn, error) {
				nc, err := s.connect(a.domain.Name)
				if err == nil {
					url.Store(nc.ConnectedUrlRedacted())
				}
				return nc, err
			},
			Roles:      s.Roles,
			Replicas:   s.Replicas,
			Durability: s.Durability,
		},
		rest: rest.Options{Version: runtime.Version, Logger: log},
		log:  log,
		started: func(_ context.Context, _ *runtime.Engine, http string) error {
			connected, _ := url.Load().(string)
			r := ready{NATS: connected, HTTP: http, Data: absolute(s.Data)}
			if s.JSON {
				return a.printJSON(r)
			}
			log.Info("ready", "nats", r.NATS, "http", r.HTTP, "data", r.Data, "durability", string(s.Durability))
			return nil
		},
	}.run(ctx)
}
