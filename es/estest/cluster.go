package estest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es/natsstore"
)

// clusterTimeout bounds what a cluster may take to elect leaders; it is usually ready within a second.
const clusterTimeout = 60 * time.Second

// Cluster is several embedded servers in one process. They stop gracefully; a test that wants to see one die runs
// nats-server as a process of its own.
type Cluster struct {
	Servers []*natsstore.Server // nil where killed

	configs []natsstore.ServerConfig
	urls    []string
}

// StartCluster starts a cluster from the text of nats.conf, its cluster block included, on free ports of the
// loopback, and waits until it has a leader that every node follows.
func StartCluster(t testing.TB, conf string, nodes int) *Cluster {
	t.Helper()
	for attempt := range 5 {
		c, err := startCluster(t, conf, nodes)
		if errors.Is(err, syscall.EADDRINUSE) {
			t.Logf("attempt %d: %v", attempt+1, err) // someone was quicker to use a port that had just been free
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Fatal("no free ports for a cluster")
	return nil
}

func startCluster(t testing.TB, conf string, nodes int) (*Cluster, error) {
	ports, err := freePorts(2 * nodes)
	if err != nil {
		return nil, err
	}
	routes := make([]string, nodes)
	for i := range nodes {
		routes[i] = fmt.Sprintf("nats://route:%s@127.0.0.1:%d", Password, ports[i])
	}
	c := &Cluster{Servers: make([]*natsstore.Server, nodes)}
	for i := range nodes {
		config := serverConfig(conf, fmt.Sprintf("n%d", i+1), t.TempDir())
		config.Cluster = true
		config.Port = ports[nodes+i]
		config.Vars["MILLSTREAM_CLUSTER_LISTEN"] = fmt.Sprintf(`"127.0.0.1:%d"`, ports[i])
		config.Vars["MILLSTREAM_ROUTES"] = "[" + strings.Join(routes, ", ") + "]"
		c.configs = append(c.configs, config)
		c.urls = append(c.urls, fmt.Sprintf("nats://127.0.0.1:%d", config.Port))
	}
	if err := c.start(); err != nil {
		c.stop()
		return nil, err
	}
	t.Cleanup(c.stop)
	return c, c.ready()
}

// start starts all servers at once: none is ready before it sees others.
func (c *Cluster) start() error {
	errs := make([]error, len(c.configs))
	var started sync.WaitGroup
	for i := range c.configs {
		started.Go(func() { c.Servers[i], errs[i] = natsstore.StartServer(c.configs[i]) })
	}
	started.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) stop() {
	var stopped sync.WaitGroup
	for _, s := range c.Servers {
		if s != nil {
			stopped.Go(s.Shutdown)
		}
	}
	stopped.Wait()
}

// ready waits until one running server leads and all of them follow it.
func (c *Cluster) ready() error {
	return eventually("the cluster has one leader and every node is current", func() bool {
		leaders, current, running := 0, 0, 0
		for _, s := range c.Servers {
			if s == nil {
				continue
			}
			running++
			if s.NATS().JetStreamIsLeader() {
				leaders++
			}
			if s.NATS().JetStreamIsCurrent() {
				current++
			}
		}
		return leaders == 1 && current == running
	})
}

// URL lists all nodes, for nats.Connect. Without credentials a connection is the engine's.
func (c *Cluster) URL() string { return strings.Join(c.urls, ",") }

// NodeURL is one node's.
func (c *Cluster) NodeURL(i int) string { return c.urls[i] }

// UserURL lists all nodes with the credentials of one of nats.conf's users.
func (c *Cluster) UserURL(user string) string {
	urls := make([]string, len(c.urls))
	for i, u := range c.urls {
		parsed, err := url.Parse(u)
		if err != nil {
			panic(err) // made above from a number
		}
		parsed.User = url.UserPassword(user, Password)
		urls[i] = parsed.String()
	}
	return strings.Join(urls, ",")
}

// Connect connects over TCP as the engine's user.
func (c *Cluster) Connect(t testing.TB) *nats.Conn {
	t.Helper()
	return Connect(t, c.UserURL("engine"), "", nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
}

// StreamLeader waits until a stream has a leader among the running nodes and returns its index.
func (c *Cluster) StreamLeader(t testing.TB, stream string) int {
	t.Helper()
	js, err := jetstream.New(c.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	leader := -1
	err = eventually("stream "+stream+" has a leader", func() bool {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		for i, config := range c.configs {
			if c.Servers[i] != nil && config.Name == s.CachedInfo().Cluster.Leader {
				leader = i
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	return leader
}

// Kill stops a node.
func (c *Cluster) Kill(i int) {
	c.Servers[i].Shutdown()
	c.Servers[i] = nil
}

// Restart starts a killed node again on its ports and its data, and waits until it has caught up with the cluster.
func (c *Cluster) Restart(t testing.TB, i int) {
	t.Helper()
	s, err := natsstore.StartServer(c.configs[i])
	if err != nil {
		t.Fatal(err)
	}
	c.Servers[i] = s
	if err := c.ready(); err != nil {
		t.Fatal(err)
	}
}

// freePorts holds all ports at once, so that they differ, before giving them free.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func eventually(what string, is func() bool) error {
	for end := time.Now().Add(clusterTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return nil
		}
	}
	return fmt.Errorf("not within %s: %s", clusterTimeout, what)
}
