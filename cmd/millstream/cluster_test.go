package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
)

// TestClusterLosesALeaderAndAProcess runs three NATS servers on nats.conf as it stands and two `millstream serve`.
// While orders flow, the leader of EVENTS and then one millstream process are killed: nothing that was accepted is
// lost or doubled, and every saga ends.
func TestClusterLosesALeaderAndAProcess(t *testing.T) {
	t.Parallel()
	const orders = 300
	random := seeded(t)
	c := startCluster(t)
	engine := connect(t, c.url(), nats.UserInfo("engine", clusterPassword))
	nodes := []*process{c.serve(t), c.serve(t)}

	client := connect(t, c.url(), nats.UserInfo("client", clusterPassword))
	events := countEvents(t, engine)
	promised := &accepted{}
	imported := make(chan error, 1)
	file := someOrders(t, random, orders)
	go func() {
		s, err := ops.Import(t.Context(), strings.NewReader(file), ops.ImportConfig{
			Send: promised.listen(ops.Call(client, 5*time.Second)), Concurrency: 8, Patience: patience,
			Fault: func(f ops.Fault) { t.Errorf("line %d: %s: %s", f.Line, f.Reply.Outcome, f.Reply.Error.Message) },
		})
		if err == nil && s.Accepted != s.Lines {
			err = fmt.Errorf("import: %+v: want every line accepted", s)
		}
		imported <- err
	}()

	events.wait(t, 100+random.Int64N(200))
	leader, err := c.leader(t.Context(), engine)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.servers[leader].kill(); err != nil {
		t.Fatal(err)
	}
	events.wait(t, 100+random.Int64N(200))
	victim := random.IntN(len(nodes))
	if err := nodes[victim].kill(); err != nil {
		t.Fatal(err)
	}
	survivor := nodes[1-victim]
	select {
	case err := <-imported:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * patience):
		t.Fatalf("the import has not ended %s after the second kill", 2*patience)
	}
	finish(t, engine, survivor, orders, promised)
	log := readLog(t, engine)
	if err := survivor.stop(); err != nil {
		t.Fatal(err)
	}
	checkReadModels(t, survivor.Data, log)
}

// TestAClientOfTheClusterCannotTouchTheLog tries what an attacker would, with the password of user client.
func TestAClientOfTheClusterCannotTouchTheLog(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	engine := connect(t, c.url(), nats.UserInfo("engine", clusterPassword))
	c.serve(t)
	client := connect(t, c.url(), nats.UserInfo("client", clusterPassword))
	call := func(stream, command, body string) {
		t.Helper()
		reply, err := client.Request("call."+stream+"."+command, []byte(body), 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(reply.Data), `"accepted"`) {
			t.Fatalf("%s: %s", command, reply.Data)
		}
	}
	call("stock.p-1", "ReceiveStock", `{"quantity":5}`)

	js, err := jetstream.New(client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := js.Stream(ctx, natsstore.EventsStream); err == nil {
		t.Error("a client sees the stream EVENTS")
	}
	watched, err := client.SubscribeSync("events.>")
	if err != nil {
		t.Fatal(err)
	}
	// As publisher of an event, and as sender whose reply subject is an event's.
	for _, subject := range []string{"events.stock.p-1", "$JS.API.STREAM.PURGE.EVENTS", "due.x"} {
		if err := client.Publish(subject, []byte(`{"quantity":5}`)); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"commands.stock.p-2.ReceiveStock", "call.stock.p-3.ReceiveStock"} {
		if err := client.PublishRequest(subject, "events.stock.p-1", []byte(`{"quantity":5}`)); err != nil {
			t.Fatal(err)
		}
	}
	call("stock.p-1", "ReceiveStock", `{"quantity":7}`)
	err = eventually(patience, func() error {
		streams := map[string]int{}
		log, err := tryReadLog(t.Context(), engine)
		if err != nil {
			return err
		}
		for _, r := range log {
			streams[r.Stream.String()]++
			if r.EventType() != "StockReceived" {
				t.Fatalf("a client wrote %s to the log", r.EventType())
			}
		}
		if fmt.Sprint(streams) != "map[stock/p-1:2 stock/p-2:1 stock/p-3:1]" {
			return fmt.Errorf("the log has %v, want two events of p-1 and one each of p-2 and p-3", streams)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watched.NextMsg(10 * time.Millisecond); err == nil {
		t.Errorf("a client reads events: %s", m.Subject)
	}
}

const clusterPassword = "secret"

// cluster is three NATS servers, each a process of its own.
type cluster struct {
	names   []string
	servers map[string]*process
	urls    []string
}

func startCluster(t testing.TB) *cluster {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(conf, []byte(millstream.NATSConf), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cluster{names: []string{"n1", "n2", "n3"}, servers: map[string]*process{}}
	var routes, routeAddresses []string
	for range c.names {
		address := freeAddress(t)
		routeAddresses = append(routeAddresses, address)
		routes = append(routes, "nats://route:"+clusterPassword+"@"+address)
	}
	for i, name := range c.names {
		address := freeAddress(t)
		c.urls = append(c.urls, "nats://"+address)
		env := []string{
			"MILLSTREAM_NODE=" + name,
			"MILLSTREAM_LISTEN=" + address,
			"MILLSTREAM_STORE=" + filepath.Join(dir, name),
			"MILLSTREAM_CLUSTER_LISTEN=" + routeAddresses[i],
			"MILLSTREAM_ROUTES=[" + strings.Join(routes, ", ") + "]",
		}
		for _, user := range []string{"CLUSTER", "ENGINE", "CLIENT", "READER", "SYS"} {
			env = append(env, "MILLSTREAM_"+user+"_PASSWORD="+clusterPassword)
		}
		p, err := launch(env, "nats-server", "-c", conf)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("what %s said:\n%s", name, p.log)
			}
			if err := p.kill(); err != nil {
				t.Error(err)
			}
		})
		c.servers[name] = p
	}
	err := eventually(patience, func() error {
		nc, err := nats.Connect(c.url(), nats.UserInfo("engine", clusterPassword))
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		_, err = js.AccountInfo(t.Context()) // answered once the cluster has a leader
		return err
	})
	if err != nil {
		for name, p := range c.servers {
			t.Logf("%s:\n%s", name, p.log)
		}
		t.Fatal(err)
	}
	return c
}

func (c *cluster) url() string { return strings.Join(c.urls, ",") }

// serve starts a millstream process on the cluster.
func (c *cluster) serve(t testing.TB) *process {
	t.Helper()
	p, err := launchNode(nil, "serve", "--data", t.TempDir(), "--http", "127.0.0.1:0", "--server", c.url(), "--user", "engine", "--password", clusterPassword, "--replicas", "3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.bury(t) })
	return p
}

// leader names the server that leads EVENTS.
func (c *cluster) leader(ctx context.Context, nc *nats.Conn) (string, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return "", err
	}
	stream, err := js.Stream(ctx, natsstore.EventsStream)
	if err != nil {
		return "", err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return "", err
	}
	if info.Cluster == nil || c.servers[info.Cluster.Leader] == nil {
		return "", errors.New("EVENTS has no leader among the servers")
	}
	return info.Cluster.Leader, nil
}
