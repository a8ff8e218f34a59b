package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

type devCmd struct {
	nodeFlags
	NATS       string        `name:"nats" default:"127.0.0.1:4222" placeholder:"HOST:PORT" help:"Where the embedded NATS server listens; port 0 picks one."`
	Durability es.Durability `enum:"durable,fast" default:"fast" help:"What a reply means: durable (on disk; one sync answers many) or fast (survives the end of the process, not a power cut)."`
	Demo       bool          `help:"Seed the system, keep it busy and print events as they happen."`
}

// Help is kong's text below the usage.
func (devCmd) Help() string {
	return `An acknowledged command survives the end of the process, not a power cut ("durability":"fast" in replies), unless
--durability durable is given.
Stop with Ctrl-C: work in flight is finished first; a second Ctrl-C does not wait.`
}

// Run is called by kong.
func (d *devCmd) Run(ctx context.Context, a *app, log *slog.Logger) error {
	if d.Demo && a.demo == nil {
		return usageError{fmt.Errorf("%s has no demo", a.domain.Name)}
	}
	spendMemory(log)
	server, err := a.embed(d.NATS, d.Data, d.Durability, false, log)
	if err != nil {
		return err
	}
	defer server.Shutdown()
	return node{
		flags: d.nodeFlags,
		config: runtime.Config{
			Domain:     a.domain,
			Connect:    server.Connect,
			Durability: d.Durability,
			Syncer:     server.Syncer(),
			Dev:        true,
			Health:     server.Healthy,
			Forget:     server.ForgetConsumer,
			Sync:       server.Sync,
		},
		rest: rest.Options{Rate: -1, Version: runtime.Version, Logger: log},
		log:  log, callers: callers{dev: true}, doors: a.doors,
		started: func(ctx context.Context, e *runtime.Engine, url string) error {
			r := ready{NATS: server.ClientURL(), HTTP: url, Data: absolute(d.Data)}
			if d.JSON {
				if err := a.printJSON(r); err != nil {
					return err
				}
			} else if err := a.welcome(r); err != nil {
				return err
			}
			if d.Demo {
				return a.runDemo(ctx, e, server)
			}
			return nil
		},
	}.run(ctx)
}

// embed starts the embedded server. In durable mode the engine makes its acknowledgements so.
func (a *app) embed(address, dir string, mode es.Durability, authenticate bool, log *slog.Logger) (*natsstore.Server, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usageError{err}
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, usageError{err}
	}
	server, err := natsstore.StartServer(natsstore.ServerConfig{
		Conf: a.natsConf, Name: a.domain.Name, DataDir: dir, Host: host, Port: number,
		Fast: mode == es.Fast, GroupSync: mode == es.Durable, RequireAuth: authenticate, Logger: log,
	})
	if err != nil {
		return nil, codedError{exitUnavailable, err}
	}
	if mode == es.Fast {
		log.Warn("fast mode: an accepted command survives the end of the process, not a power cut")
	}
	return server, nil
}

// welcome prints where everything is and what to paste next.
func (a *app) welcome(r ready) error {
	fmt.Fprintf(a.stdout, "%s is ready.\n  NATS  %s\n  HTTP  %s  (documentation at %s/docs)\n  data  %s\n", a.domain.Name, r.NATS, r.HTTP, r.HTTP, r.Data)
	if len(a.quickstart) > 0 {
		fmt.Fprint(a.stdout, "\nTry from another terminal:\n")
	}
	server := ""
	if r.NATS != nats.DefaultURL && r.NATS != "nats://127.0.0.1:4222" {
		server = " -s " + r.NATS
	}
	for _, effect := range a.quickstart {
		request, err := requestOf(effect)
		if err != nil {
			return err
		}
		s := request.Meta.Stream
		fmt.Fprintf(a.stdout, "  nats%s req call.%s.%s.%s '%s'\n", server, s.Category, s.ID, request.Type, request.Data)
	}
	_, err := fmt.Fprintln(a.stdout)
	return err
}

func requestOf(effect es.Effect) (es.Request, error) {
	send, ok := effect.(es.Send)
	if !ok {
		return es.Request{}, fmt.Errorf("expected an es.Send, not %T", effect)
	}
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(send.Command); err != nil {
		return es.Request{}, fmt.Errorf("%s: %w", send.Command.CommandType(), err)
	}
	return es.Request{Type: send.Command.CommandType(), Data: bytes.TrimSpace(body.Bytes()), Meta: es.Meta{Stream: send.Stream}}, nil
}

// runDemo keeps the system busy and prints the log as it grows.
func (a *app) runDemo(ctx context.Context, e *runtime.Engine, server *natsstore.Server) error {
	nc, err := server.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	log, err := natsstore.NewLog(nc, e.Schemas())
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, natsstore.EventsStream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return err
	}
	faults := make(chan error, 1)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		if err := a.printCommit(log, m); err != nil {
			select {
			case faults <- err:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer consuming.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	demo := make(chan error, 1)
	go func() {
		demo <- a.demo(ctx, func(ctx context.Context, effect es.Effect) es.Reply {
			request, err := requestOf(effect)
			if err != nil {
				return es.Reply{Outcome: es.Failed, Error: &es.Problem{Code: "failed", Message: err.Error()}}
			}
			return e.Execute(ctx, request)
		})
	}()
	select {
	case err := <-faults:
		cancel()
		return errors.Join(err, <-demo)
	case err := <-demo:
		return err
	}
}

func (a *app) printCommit(log *natsstore.Log, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	events, err := log.Decode(m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream)
	if err != nil {
		return err
	}
	return a.printEvents(events, false)
}
