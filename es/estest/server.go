package estest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es/natsstore"
)

// Password is that of every user of nats.conf (engine, client, reader, sys) on the servers started here.
const Password = "test"

// StartServer starts an embedded server from the text of nats.conf, on a free port of the loopback and a directory
// of its own, both gone with the test. Without credentials a connection is the engine's.
func StartServer(t testing.TB, conf string) *natsstore.Server {
	t.Helper()
	s, err := natsstore.StartServer(serverConfig(conf, "test", t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func serverConfig(conf, name, dir string) natsstore.ServerConfig {
	return natsstore.ServerConfig{
		Conf:    conf,
		Name:    name,
		DataDir: dir,
		Fast:    true,
		Logger:  slog.New(slog.DiscardHandler), // what matters reaches the test as an error
		Vars: map[string]string{
			"MILLSTREAM_ENGINE_PASSWORD":  Password,
			"MILLSTREAM_CLIENT_PASSWORD":  Password,
			"MILLSTREAM_READER_PASSWORD":  Password,
			"MILLSTREAM_SYS_PASSWORD":     Password,
			"MILLSTREAM_CLUSTER_PASSWORD": Password,
		},
	}
}

// Connect connects to a server as one of nats.conf's users, "" for none; the connection ends with the test.
func Connect(t testing.TB, url, user string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	if user != "" {
		opts = append(opts, nats.UserInfo(user, Password))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatalf("connect to %s as %q: %v", url, user, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// SetUp creates the streams.
func SetUp(t testing.TB, nc *nats.Conn, replicas int) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err == nil {
		err = natsstore.SetUp(context.WithoutCancel(t.Context()), js, replicas)
	}
	if err != nil {
		t.Fatal(err)
	}
	return js
}
