package runtime

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// syncedServer embeds a server whose acknowledgements the engine makes durable.
func syncedServer(t *testing.T) *testServer {
	t.Helper()
	server, err := natsstore.StartServer(natsstore.ServerConfig{
		Conf: millstream.NATSConf, DataDir: t.TempDir(), GroupSync: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	s := &testServer{Server: server, dir: t.TempDir()}
	if s.conn, err = s.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	if s.js, err = jetstream.New(s.conn); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDurableRepliesShareSyncs(t *testing.T) {
	t.Parallel()
	s := syncedServer(t)
	e := s.start(t, func(c *Config) { c.Syncer = s.Syncer(); c.Roles = []Role{RoleCommands} })
	const writers, each = 64, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				reply := e.Execute(t.Context(), request("p-"+strconv.Itoa(w), putCoins{1}, ""))
				if reply.Outcome != es.Accepted || reply.Durability != es.Durable {
					t.Errorf("%+v %+v", reply, reply.Error)
				}
				if synced := e.durability.synced.Load(); synced < uint64(reply.Revision) {
					t.Errorf("revision %d was answered when only %d was synced", reply.Revision, synced)
				}
			}
		})
	}
	wg.Wait()
	if stats := s.Syncer().Stats(); stats.Syncs == 0 || stats.Syncs >= stats.Served {
		t.Errorf("%+v: one sync is to serve many", stats)
	}
}

func TestNothingIsAnsweredAfterAFailedSync(t *testing.T) {
	t.Parallel()
	s := syncedServer(t)
	e := s.start(t, func(c *Config) { c.Syncer = s.Syncer(); c.Roles = []Role{RoleCommands} })
	first := e.Execute(t.Context(), request("a", putCoins{1}, "c-1"))
	wantOutcome(t, first, es.Accepted)
	if err := s.Syncer().Close(); err != nil { // from here on no wait succeeds, as after a failed sync
		t.Fatal(err)
	}
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{1}, "c-2")), es.UnknownOutcome)
	// A rejection decided on what may be lost is no answer either; the repeat of what is known to be synced is.
	wantOutcome(t, e.Execute(t.Context(), request("a", takeCoins{Coins: 9}, "c-3")), es.UnknownOutcome)
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{7}, "c-2")), es.UnknownOutcome) // that it is another command
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{1}, "c-1")), es.Accepted)
}

// TestASagaThatStoodOnLostEventsIsSetBack stores what a power cut can leave: transitions caused by events whose
// revisions the log has since given to others.
func TestASagaThatStoodOnLostEventsIsSetBack(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Roles = []Role{RoleCommands} })
	first := e.Execute(t.Context(), request("a", putCoins{9}, "c-1"))
	second := e.Execute(t.Context(), request("a", takeCoins{Coins: 2, For: "b"}, "c-2"))
	at := time.Now().UTC()
	store := func(key string, number uint64, p position, state mover) {
		t.Helper()
		raw, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(transition{Number: number, Trigger: trigger{Kind: "event", ID: p.EventID, Time: at}, State: raw, Position: p, Done: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.js.Publish(t.Context(), "sagas.mover."+key, body); err != nil {
			t.Fatal(err)
		}
	}
	// a: heard the first event, then another one at the second's revision, and one beyond the log.
	store("a", 1, position{first.Revision, 1, "c-1/1"}, mover{Target: "kept"})
	store("a", 2, position{second.Revision, 2, "c-lost/1"}, mover{Target: "lost"})
	store("a", 3, position{second.Revision + 7, 3, "c-gone/1"}, mover{Target: "gone"})
	// n: everything it ever heard is lost.
	store("n", 1, position{second.Revision + 3, 1, "c-other/1"}, mover{Target: "lost"})
	// k: stands, and must be left alone.
	store("k", 1, position{first.Revision, 1, "c-1/1"}, mover{Target: "kept"})

	again := s.start(t, func(c *Config) { c.DataDir = t.TempDir() })
	// The true second event was never heard by a, whose position was beyond it; set back, it hears it.
	eventually(t, "the coins in b", func() bool { return potCoins(t, again, "b") == 2 })
	eventually(t, "n begins anew", func() bool { return len(s.transitions(t, "n")) == 2 })
	for key, want := range map[string]string{"a": "kept", "n": ""} {
		for _, tr := range s.transitions(t, key) {
			if tr.Trigger.Kind == "setBack" {
				var state mover
				if err := json.Unmarshal(tr.State, &state); err != nil || state.Target != want {
					t.Errorf("%s is set back to %q (%v), want %q", key, state.Target, err, want)
				}
			}
		}
	}
	if trail := s.transitions(t, "k"); len(trail) != 1 {
		t.Errorf("a process that stands on the log was touched: %+v", trail)
	}
	if got := fmt.Sprint(len(s.transitions(t, "a"))); got != "6" { // three stored, set back, heard, outcome
		t.Errorf("%s transitions of a, want 6", got)
	}
}
