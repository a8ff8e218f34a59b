package runtime

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
)

// BenchmarkExecute carries commands to their commits on an embedded server in fast mode: on aggregates that the engine
// holds (hot), that it must load from a history of ten commits (cold), and that are new.
func BenchmarkExecute(b *testing.B) {
	server := estest.StartServer(b, millstream.NATSConf)
	engine, err := Start(b.Context(), Config{
		Domain: potsDomain(), Connect: server.Connect, DataDir: b.TempDir(), Roles: []Role{RoleCommands}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	put := func(tb testing.TB, id string) {
		if reply := engine.Execute(b.Context(), request(id, putCoins{1}, "")); reply.Outcome != es.Accepted {
			tb.Errorf("%s: %+v", reply.Outcome, reply.Error)
		}
	}
	var named atomic.Int64
	parallel := func(b *testing.B, id func(n int64) string) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				put(b, id(named.Add(1)))
			}
		})
	}
	b.Run("hot", func(b *testing.B) {
		parallel(b, func(n int64) string { return "hot-" + strconv.FormatInt(n%256, 10) })
	})
	b.Run("cold", func(b *testing.B) {
		for range 10 {
			put(b, "cold")
		}
		b.ReportAllocs()
		for b.Loop() {
			engine.executor.cache.InvalidateAll()
			if _, _, err := engine.executor.instance(b.Context(), pots.Stream("cold")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		parallel(b, func(n int64) string { return "new-" + strconv.FormatInt(n, 10) })
	})
}

// BenchmarkDecide is what a command costs before and after the log: schema, hash, decision, fold.
func BenchmarkDecide(b *testing.B) {
	x := newTestExecutor(b, nothingLog{})
	r := request("hot", putCoins{1}, "")
	r.Meta.CommandID = newID()
	b.ReportAllocs()
	for b.Loop() {
		r.Meta.CommandID = newID()
		if reply := x.execute(b.Context(), r); reply.Outcome != es.Accepted {
			b.Fatalf("%s: %+v", reply.Outcome, reply.Error)
		}
	}
}

// nothingLog takes everything and keeps nothing.
type nothingLog struct{ es.Log }

func (nothingLog) Append(_ context.Context, c es.Commit) (es.Revision, error) {
	return c.Expected + 1, nil
}

func (nothingLog) Load(context.Context, es.Stream, es.Range) (es.History, error) {
	return es.History{}, nil
}
