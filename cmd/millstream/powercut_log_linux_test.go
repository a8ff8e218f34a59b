package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// TestPowerCutsLoseNothingOfALogThatGrowsFromFileToFile cuts the power under appends that fill several of the server's
// files, while only the last of them is synced.
func TestPowerCutsLoseNothingOfALogThatGrowsFromFileToFile(t *testing.T) {
	const (
		writers = 32
		cuts    = 5
		size    = 48 << 10 // the server begins a new file every 8 MiB
	)
	random := seeded(t)
	d := newDisk(t, 1024)
	start := func() (*natsstore.Server, jetstream.JetStream) {
		t.Helper()
		s, err := natsstore.StartServer(natsstore.ServerConfig{
			Conf: millstream.NATSConf, DataDir: filepath.Join(d.dir, "data"), GroupSync: true, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if err := natsstore.SetUp(t.Context(), js, 1); err != nil {
			t.Fatal(err)
		}
		return s, js
	}
	var mu sync.Mutex
	promised := map[uint64]string{} // what a message begins with, by revision
	for cut := range cuts {
		s, js := start()
		target := len(promised) + 200 + random.IntN(800)
		enough, cancel := context.WithCancel(t.Context())
		write := func(w int) error {
			for n := 0; ; n++ {
				name := fmt.Sprintf("%d-%d-%d ", cut, w, n)
				turn := s.Syncer().Turn()
				turn.Begin()
				ctx, done := context.WithTimeout(t.Context(), 2*time.Second)
				ack, err := js.Publish(ctx, fmt.Sprintf("events.a.w-%d", w), append([]byte(name), bytes.Repeat([]byte{'x'}, size)...))
				if err == nil {
					err = turn.Wait(ctx)
				}
				done()
				turn.End()
				if err != nil {
					return err
				}
				mu.Lock()
				promised[ack.Sequence] = name
				if len(promised) >= target {
					cancel()
				}
				mu.Unlock()
			}
		}
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				if err := write(w); enough.Err() == nil {
					t.Errorf("cut %d: before the power is cut: %v", cut, err)
					cancel()
				}
			})
		}
		<-enough.Done()
		d.cut()
		all.Wait()
		if err := s.Syncer().Wait(t.Context()); !errors.Is(err, es.ErrUnknownOutcome) {
			t.Errorf("cut %d: %v, and there is no power", cut, err)
		}
		s.Shutdown()
		d.restore()
	}
	s, js := start()
	defer s.Shutdown()
	stream, err := js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	for revision, name := range promised {
		m, err := stream.GetMsg(t.Context(), revision)
		if err != nil {
			t.Errorf("revision %d, %q: %v", revision, name, err)
		} else if !bytes.HasPrefix(m.Data, []byte(name)) || len(m.Data) != len(name)+size {
			t.Errorf("revision %d holds %d bytes that begin with %.20q, want %q", revision, len(m.Data), m.Data, name)
		}
	}
	files, err := filepath.Glob(filepath.Join(d.dir, "data", "jetstream", "*", "streams", natsstore.EventsStream, "msgs", "*.blk"))
	if err != nil || len(files) < 2*cuts {
		t.Errorf("the log is in %d files (%v), too few for this test", len(files), err)
	}
	t.Logf("%d messages promised, in %d files", len(promised), len(files))
}
