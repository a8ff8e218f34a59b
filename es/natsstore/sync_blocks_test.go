package natsstore

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
)

func TestTheLogsLastFileIsSyncedAloneOnceItIsKnown(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "msgs")
	everything := 0
	b := &blocks{dir: dir, everything: func() error { everything++; return nil }}
	defer b.close()
	write := func(name string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("a"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name   string
		before func()
		whole  bool   // everything is to be synced
		number uint64 // of the file that is held afterwards
	}{
		{"no directory", func() {}, true, 0},
		{"files that were there before", func() { write("7.blk"); write("9.blk"); write("10.blk"); write("index.db") }, true, 10},
		{"known", func() {}, false, 10},
		{"more in it", func() { write("10.blk") }, false, 10},
		{"a new file", func() { write("11.blk") }, true, 11},
		{"known", func() {}, false, 11},
		{"two new files", func() { write("12.blk"); write("13.blk") }, true, 13},
		{"another one of that name", func() { os.Remove(filepath.Join(dir, "13.blk")); write("13.blk") }, true, 13},
		{"known", func() {}, false, 13},
		{"made anew", func() { os.Rename(dir, dir+"-old"); write("1.blk") }, true, 1},
		{"known", func() {}, false, 1},
		{"gone", func() { os.RemoveAll(dir) }, true, 0},
		{"back", func() { write("1.blk") }, true, 1},
	} {
		step.before()
		before := everything
		if err := b.sync(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if whole := everything > before; whole != step.whole {
			t.Errorf("%s: everything synced: %t, want %t", step.name, whole, step.whole)
		}
		if b.number != step.number {
			t.Errorf("%s: file %d is held, want %d", step.name, b.number, step.number)
		}
	}
}

// Where the server keeps the log, and that it begins a new file only with the number that comes next, is its own
// business: this fails when it changes.
func TestTheServerKeepsTheLogWhereItIsSynced(t *testing.T) {
	t.Parallel()
	s, err := StartServer(ServerConfig{Conf: millstream.NATSConf, DataDir: t.TempDir(), GroupSync: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := SetUp(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	b := &blocks{dir: filepath.Join(streamDir(s.data, s.account, EventsStream), "msgs"), everything: func() error { return nil }}
	defer b.close()
	body := make([]byte, 1<<20)
	for n := range 20 {
		if _, err := js.Publish(context.Background(), "events.a.b", body); err != nil {
			t.Fatal(err)
		}
		before := b.number
		if err := b.sync(); err != nil {
			t.Fatal(err)
		}
		if b.number == 0 || b.number > before+1 {
			t.Fatalf("message %d: file %d comes after %d", n, b.number, before)
		}
		size := func() int64 {
			info, err := b.held.Stat()
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		if size() < int64(len(body)) {
			t.Fatalf("message %d is acknowledged, and file %d holds %d bytes", n, b.number, size())
		}
	}
	if b.number < 2 {
		t.Errorf("20 MiB are in %d file", b.number)
	}
}
