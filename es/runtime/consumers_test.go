package runtime

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es/natsstore"
)

// restartable returns a function that starts a server in fast mode and an engine on dir, each time with the same read
// models.
func restartable(t *testing.T, dir string) func() (*testServer, *Engine) {
	models := t.TempDir()
	return func() (*testServer, *Engine) {
		t.Helper()
		server, err := natsstore.StartServer(natsstore.ServerConfig{Conf: millstream.NATSConf, DataDir: dir, Fast: true, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		s := &testServer{Server: server, dir: models}
		if s.conn, err = s.Connect(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.conn.Close)
		if s.js, err = jetstream.New(s.conn); err != nil {
			t.Fatal(err)
		}
		return s, s.start(t, func(c *Config) { c.Forget, c.Sync = server.ForgetConsumer, server.Sync })
	}
}

// TestConsumersThatArePartlyThereBeginAnew leaves on disk what a power cut can: a consumer's state or description
// without its content.
func TestConsumersThatArePartlyThereBeginAnew(t *testing.T) {
	t.Parallel()
	t.Run("state", func(t *testing.T) { beginAnewWithout(t, "o.dat") })
	t.Run("description", func(t *testing.T) { beginAnewWithout(t, "meta.inf") })
}

func beginAnewWithout(t *testing.T, file string) {
	t.Parallel()
	dir := t.TempDir()
	start := restartable(t, dir)
	s, e := start()
	take(t, e, "a", "b", 3)
	eventually(t, "the coins in b", func() bool { return potCoins(t, e, "b") == 3 })
	closeEngine(t, e)
	s.conn.Close()
	s.Shutdown()

	states, err := filepath.Glob(filepath.Join(dir, "jetstream", "ENGINE", "streams", "*", "obs", "*", file))
	if err != nil || len(states) < 3 {
		t.Fatalf("consumers' states on disk: %v, %v", states, err)
	}
	for _, state := range states {
		if err := os.WriteFile(state, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, e = start()
	take(t, e, "c", "d", 4)
	eventually(t, "the coins in d", func() bool { return potCoins(t, e, "d") == 4 })
	last, err := e.LastRevision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if answer, _, err := e.Ask(t.Context(), potByID, potParams{"d"}, last); err != nil || answer.(potAnswer).Coins != 4 {
		t.Errorf("the read model: %+v, %v", answer, err)
	}
	// The saga heard everything once more, and did nothing twice.
	if n := potCoins(t, e, "b"); n != 3 {
		t.Errorf("%d coins in b, want 3", n)
	}
	if err := s.ForgetConsumer("EVENTS", "../x"); err == nil {
		t.Error("a name that leaves the folder was taken")
	}
}
