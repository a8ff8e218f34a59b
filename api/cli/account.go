package cli

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

// account is a connection to the engine's account, where the log is.
type account struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *natsstore.Log
	schemas *schema.Registry
}

func (a account) close() { a.nc.Close() }

// account connects as the flags say.
func (c clientFlags) account(a *app, verb string) (account, error) {
	if err := c.check(); err != nil {
		return account{}, usageError{err}
	}
	nc, err := c.connect(a.domain.Name + " " + verb)
	if err != nil {
		return account{}, err
	}
	return a.account(nc)
}

// accountIn connects as the flags say or, where a data directory is named, to a server started in it. What it returns
// beside is to be called at the end: everything is on disk then, and the connection and that server have ended.
func (c clientFlags) accountIn(dir string, a *app, verb string, log *slog.Logger) (account, func() error, error) {
	if dir == "" {
		to, err := c.account(a, verb)
		return to, func() error { to.close(); return nil }, err
	}
	server, err := natsstore.StartServer(natsstore.ServerConfig{Conf: a.natsConf, Name: a.domain.Name, DataDir: dir, GroupSync: true, Logger: log})
	if err != nil {
		return account{}, nil, codedError{exitUnavailable, err}
	}
	nc, err := server.Connect()
	if err != nil {
		server.Shutdown()
		return account{}, nil, err
	}
	to, err := a.account(nc)
	if err != nil {
		server.Shutdown()
		return account{}, nil, err
	}
	return to, func() error {
		err := server.Syncer().Wait(context.Background())
		to.close()
		server.Shutdown()
		return err
	}, nil
}

// account takes over a connection.
func (a *app) account(nc *nats.Conn) (account, error) {
	to := account{nc: nc}
	var err error
	if to.schemas, err = schema.New(a.domain); err == nil {
		if to.js, err = jetstream.New(nc); err == nil {
			to.log, err = natsstore.NewLog(nc, to.schemas)
		}
	}
	if err != nil {
		nc.Close()
	}
	return to, err
}
