package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

// TestKilledInMidRebuildAndSwapTheReadModelStaysWhole kills the process at moments spread over the whole of a rebuild,
// its swap and the serving after it. Whenever somebody asks, the read model answers with every order or not at all.
// MILLSTREAM_SEED repeats a run's moments.
func TestKilledInMidRebuildAndSwapTheReadModelStaysWhole(t *testing.T) {
	t.Parallel()
	const kills, orders = 12, 150
	random := seeded(t)
	dir, address := t.TempDir(), freeAddress(t)
	start := func() *process {
		p, err := launchNode(nil, "dev", "--data", dir, "--nats", address, "--http", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.bury(t) })
		return p
	}
	p := start()
	nc := connect(t, p.NATS)
	promised := &accepted{}
	_, err := ops.Import(t.Context(), strings.NewReader(someOrders(t, random, orders)), ops.ImportConfig{
		Send: promised.listen(ops.Call(nc, 2*time.Second)), Concurrency: 16, Fault: func(f ops.Fault) { t.Errorf("line %d: %+v", f.Line, f.Reply) },
	})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, nc, p, orders, promised)
	log := readLog(t, nc)

	asked := make(chan int64)
	asking, stop := context.WithCancel(t.Context())
	go func() { asked <- askForOrders(asking, t, nc, orders) }()
	began := time.Now()
	if err := runtime.Rebuild(t.Context(), nc, runtime.ProjectionRequest{Name: "orders", By: "ada"}, nil); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	for i := range kills {
		rebuilding, cancel := context.WithCancel(t.Context())
		begun, ended := make(chan struct{}), make(chan error, 1)
		var once atomic.Bool
		go func() {
			ended <- runtime.Rebuild(rebuilding, nc, runtime.ProjectionRequest{Name: "orders", By: "ada"}, func(string, es.Revision, es.Revision) {
				if !once.Swap(true) {
					close(begun)
				}
			})
		}()
		select {
		case <-begun:
		case err := <-ended: // before it was seen at work
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(random.Int64N(int64(whole)))) // the moment of the kill, not something waited for
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
		cancel()
		p = start()
		if err := eventually(patience, func() error { return caughtUp(p, log[len(log)-1].Revision) }); err != nil {
			t.Fatalf("after kill %d: %v", i+1, err)
		}
	}
	stop()
	if n := <-asked; n == 0 {
		t.Error("the read model was never asked with success")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	checkReadModels(t, dir, log)
}

// askForOrders counts the orders of the read model again and again, and returns how often it had an answer.
func askForOrders(ctx context.Context, t testing.TB, nc *nats.Conn, want int) (answers int64) {
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, time.Second)
		answer, err := runtime.Question(once, nc, "orders", "SELECT count(*) FROM orders", 1)
		cancel()
		if err != nil {
			continue // nobody answers: the process is dead, or starting
		}
		answers++
		if got := fmt.Sprint(answer.Rows); got != fmt.Sprintf("[[%d]]", want) {
			t.Errorf("a query saw %s orders, want %d", got, want)
		}
	}
	return answers
}
