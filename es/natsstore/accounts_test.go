package natsstore_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// TestAccountsKeepClientsFromTheLog tries what a client, a reader or a stranger could, on the accounts of nats.conf.
func TestAccountsKeepClientsFromTheLog(t *testing.T) {
	t.Parallel()
	server := estest.StartServer(t, millstream.NATSConf)
	engine := inProcess(t, server)
	js := estest.SetUp(t, engine, 1)
	serve(t, engine)
	stored := func(stream string) uint64 {
		t.Helper()
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.LastSeq
	}

	t.Run("a client calls a command and is known to the engine", func(t *testing.T) {
		client, denied := connect(t, server, "client")
		forged := nats.NewMsg("call.order.o-1.CreateOrder")
		forged.Header.Set("Nats-Request-Info", `{"acc":"ENGINE","user":"engine"}`)
		reply, err := client.RequestMsg(forged, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var caller struct{ Acc, User string }
		if err := json.Unmarshal(reply.Data, &caller); err != nil {
			t.Fatalf("%q: %v", reply.Data, err)
		}
		if caller.Acc != "CLIENTS" || caller.User != "client" {
			t.Errorf("the engine sees %+v as the caller, want client of CLIENTS", caller)
		}
		none(t, denied)
	})

	t.Run("a client queues a command and gets its acknowledgement", func(t *testing.T) {
		client, denied := connect(t, server, "client")
		reply, err := client.Request("commands.order.o-1.CreateOrder", []byte(`{}`), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var ack jetstream.PubAck
		if err := json.Unmarshal(reply.Data, &ack); err != nil || ack.Stream != natsstore.CommandsStream || ack.Sequence == 0 {
			t.Fatalf("acknowledgement %q, %v", reply.Data, err)
		}
		none(t, denied)
	})

	t.Run("a client discovers the services", func(t *testing.T) {
		client, denied := connect(t, server, "client")
		reply, err := client.Request("$SRV.INFO", nil, 5*time.Second)
		if err != nil || !strings.Contains(string(reply.Data), "orders") {
			t.Fatalf("%+v, %v", reply, err)
		}
		none(t, denied)
	})

	for _, header := range []string{"Nats-Rollup: all", "Nats-TTL: 1s", "Nats-Schedule: @at 2020-01-01T00:00:00Z", "Nats-Batch-Id: b", "Nats-Incr: 1"} {
		t.Run("a queued command cannot carry "+header, func(t *testing.T) {
			before := stored(natsstore.CommandsStream)
			client, _ := connect(t, server, "client")
			m := nats.NewMsg("commands.order.o-1.CreateOrder")
			name, value, _ := strings.Cut(header, ": ")
			m.Header.Set(name, value)
			m.Header.Set("Nats-Schedule-Target", "commands.order.o-2.CreateOrder")
			m.Header.Set("Nats-Batch-Sequence", "1")
			m.Header.Set("Nats-Batch-Commit", "1")
			reply, err := client.RequestMsg(m, 5*time.Second)
			if err != nil || !strings.Contains(string(reply.Data), `"error"`) {
				t.Errorf("%+v, %v", reply, err)
			}
			if after := stored(natsstore.CommandsStream); after != before {
				t.Errorf("it was stored: the stream went from %d to %d", before, after)
			}
		})
	}

	// The acknowledgement of one and the answer to the other, stored as an event, would be a client's word in the log.
	hijacks := map[string]func(nc *nats.Conn) error{
		"queue with events as reply":    reply("commands.order.o-2.C", "events.order.o-1"),
		"call with events as reply":     reply("call.order.o-2.C", "events.order.o-1"),
		"discover with events as reply": reply("$SRV.PING", "events.order.o-1"),
		"fast-ingest with its reply":    reply("commands.order.o-2.C", "events.order.o-1.u.1.fail.1.2.$FI"),
		"trace a queued command":        trace("commands.order.o-2.C"),
		"trace a call":                  trace("call.order.o-2.C"),
	}
	next := func() uint64 {
		t.Helper()
		ack, err := js.Publish(t.Context(), "events.order.o-9", nil)
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	// settled waits until what was sent before has been answered: both doors answer in order.
	settled := func(nc *nats.Conn) {
		t.Helper()
		for _, subject := range []string{"commands.order.o-3.C", "call.order.o-3.C"} {
			if _, err := nc.Request(subject, nil, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, hijack := range hijacks {
		t.Run("a client reaches no event with: "+name, func(t *testing.T) {
			before := next()
			client, _ := connect(t, server, "client")
			if err := hijack(client); err != nil {
				t.Fatal(err)
			}
			settled(client)
			if after := next(); after != before+1 {
				t.Errorf("EVENTS went from %d to %d", before, after)
			}
		})
	}
	t.Run("the same reply within the engine's account would be stored", func(t *testing.T) {
		before := next()
		if err := hijacks["queue with events as reply"](engine); err != nil {
			t.Fatal(err)
		}
		settled(engine)
		if after := next(); after != before+2 {
			t.Errorf("EVENTS went from %d to %d: the tests above prove nothing", before, after)
		}
	})

	refused := map[string]func(nc *nats.Conn) error{
		"publish an event":             reply("events.order.o-1", ""),
		"read by direct get":           reply("$JS.API.DIRECT.GET.EVENTS.events.order.o-1", "_INBOX.a"),
		"read from the leader":         reply("$JS.API.STREAM.MSG.GET.EVENTS", "_INBOX.a"),
		"list streams":                 reply("$JS.API.STREAM.NAMES", "_INBOX.a"),
		"delete the log":               reply("$JS.API.STREAM.DELETE.EVENTS", "_INBOX.a"),
		"consume the queue":            reply("$JS.API.CONSUMER.CREATE.COMMANDS", "_INBOX.a"),
		"acknowledge others' messages": reply("$JS.ACK.COMMANDS.commands.1.1.1.1.0", ""),
		"ask the system account":       reply("$SYS.REQ.SERVER.PING", "_INBOX.a"),
		"guess at a response":          reply("_R_.abc.def", ""),
		"subscribe to events":          listen("events.>"),
		"subscribe to everything":      listen(">"),
		"answer calls itself":          listen("call.>"),
	}
	for name, do := range refused {
		t.Run("a client cannot "+name, func(t *testing.T) {
			client, denied := connect(t, server, "client")
			if err := do(client); err != nil {
				t.Fatal(err)
			}
			if err := <-denied; !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("got %v", err)
			}
		})
	}

	t.Run("a reader follows events and changes nothing", func(t *testing.T) {
		reader, denied := connect(t, server, "reader")
		sub, err := reader.SubscribeSync("events.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := reader.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "events.order.o-1", []byte("fact")); err != nil {
			t.Fatal(err)
		}
		if m, err := sub.NextMsg(5 * time.Second); err != nil || string(m.Data) != "fact" {
			t.Fatalf("%+v, %v", m, err)
		}
		if reply, err := reader.Request("queries.orders", nil, 5*time.Second); err != nil || string(reply.Data) != "answer" {
			t.Fatalf("%+v, %v", reply, err)
		}
		none(t, denied)
		before := stored(natsstore.EventsStream)
		for _, subject := range []string{"events.order.o-1", "commands.order.o-1.C", "call.order.o-1.C", "$JS.API.STREAM.DELETE.EVENTS"} {
			if err := reader.PublishRequest(subject, "events.order.o-1", nil); err != nil {
				t.Fatal(err)
			}
			if err := reader.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := <-denied; !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", subject, err)
			}
		}
		if after := stored(natsstore.EventsStream); after != before {
			t.Errorf("EVENTS went from %d to %d", before, after)
		}
	})

	t.Run("a wrong password is refused", func(t *testing.T) {
		for _, user := range []string{"engine", "client", "reader", "sys", "in-process", "nobody"} {
			if nc, err := nats.Connect(server.ClientURL(), nats.UserInfo(user, "wrong")); err == nil {
				nc.Close()
				t.Errorf("user %s got in", user)
			}
		}
	})
}

// serve is an engine as clients see it: it answers calls with what it was told about the caller.
func serve(t *testing.T, nc *nats.Conn) {
	t.Helper()
	service, err := micro.AddService(nc, micro.Config{Name: "orders", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Stop(); err != nil {
			t.Error(err)
		}
	})
	err = service.AddEndpoint("call", micro.HandlerFunc(func(r micro.Request) {
		if err := r.Respond([]byte(r.Headers().Get("Nats-Request-Info"))); err != nil && r.Reply() != "" {
			t.Error(err)
		}
	}), micro.WithEndpointSubject("call.>"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("queries.>", func(m *nats.Msg) {
		if err := m.Respond([]byte("answer")); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// connect also returns what the server refuses.
func connect(t *testing.T, s *natsstore.Server, user string) (*nats.Conn, <-chan error) {
	t.Helper()
	denied := make(chan error, 100)
	return estest.Connect(t, s.ClientURL(), user, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err })), denied
}

func none(t *testing.T, denied <-chan error) {
	t.Helper()
	select {
	case err := <-denied:
		t.Errorf("refused: %v", err)
	default:
	}
}

func reply(subject, to string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error {
		if to == "" {
			return nc.Publish(subject, nil)
		}
		return nc.PublishRequest(subject, to, nil)
	}
}

// trace asks the server to report on a message's way to a subject in the log.
func trace(subject string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error {
		m := nats.NewMsg(subject)
		m.Header.Set("Nats-Trace-Dest", "events.order.o-1")
		return nc.PublishMsg(m)
	}
}

func listen(subject string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error {
		_, err := nc.SubscribeSync(subject)
		return err
	}
}
