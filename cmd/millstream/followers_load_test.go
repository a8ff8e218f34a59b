package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/money"
)

// TestManyFollowersUnderLoad measures commands beside 1,000 idle and 50 slow WebSocket clients. It needs the machine
// for itself: MILLSTREAM_LOAD=1 go test -run ManyFollowers -v ./cmd/millstream. The figures are in
// docs/performance.md.
func TestManyFollowersUnderLoad(t *testing.T) {
	if os.Getenv("MILLSTREAM_LOAD") == "" {
		t.Skip("a measurement: set MILLSTREAM_LOAD=1")
	}
	const rate, seconds, idles, slows = 500, 15, 1000, 50
	p := dev(t, t.TempDir())
	load := &orderLoad{send: ops.Call(connect(t, p.NATS), 10*time.Second)}
	load.stock(t)
	load.run(t, rate, 3) // the first orders fill caches
	quiet := load.run(t, rate, seconds)
	before := resident(t, p)

	var waiting sync.WaitGroup
	defer waiting.Wait()
	var disturbed atomic.Int64
	var over atomic.Bool
	for i := range idles {
		c := followAll(t, p, fmt.Sprintf(`"stream":"order/nobody-%d",`, i))
		waiting.Go(func() {
			if _, _, err := c.Read(t.Context()); !over.Load() {
				t.Logf("an idle client: %v", err)
				disturbed.Add(1)
			}
		})
		defer c.CloseNow()
	}
	connected := resident(t, p)
	var slow []*websocket.Conn
	for range slows {
		slow = append(slow, followAll(t, p, ""))
	}
	quick, seen := followAll(t, p, ""), atomic.Int64{}
	reading := make(chan error, 1)
	go func() {
		for {
			if _, _, err := quick.Read(t.Context()); err != nil {
				reading <- err
				return
			}
			seen.Add(1)
		}
	}()
	loaded := load.run(t, rate, seconds)
	after := resident(t, p)
	select {
	case err := <-reading:
		t.Errorf("the one who reads was thrown out: %v", err)
	default:
	}
	var ended atomic.Int64
	var closing sync.WaitGroup
	for _, c := range slow {
		closing.Go(func() {
			if err := lastWord(t, c); websocket.CloseStatus(err) == 4008 {
				ended.Add(1)
			} else {
				t.Errorf("a slow client was closed so: %v", err)
			}
		})
	}
	closing.Wait()
	over.Store(true)
	quick.CloseNow()
	ratio := float64(loaded.p99) / float64(quiet.p99)
	t.Logf("%d orders/s for %d s: quiet p50 %v, p99 %v; beside %d idle and %d slow clients p50 %v, p99 %v: %.2f times; %d of %d slow ones were closed with 4008; one that reads got %d commits",
		rate, seconds, quiet.p50, quiet.p99, idles, slows, loaded.p50, loaded.p99, ratio, ended.Load(), slows, seen.Load())
	t.Logf("memory of the process: %d MiB quiet, %d MiB with %d idle clients, %d MiB after the load", before>>20, connected>>20, idles, after>>20)
	if ratio > 2 {
		t.Errorf("p99 is %.2f times that of the quiet system, at most 2 are promised", ratio)
	}
	if disturbed.Load() > 0 {
		t.Errorf("%d idle clients heard something", disturbed.Load())
	}
}

// orderLoad creates orders at a rate, whatever the answers take.
type orderLoad struct {
	send ops.Sender
	last int
}

const loadProducts = 200

func (l *orderLoad) do(ctx context.Context, s es.Stream, c es.Command) es.Reply {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // a command always has JSON
	}
	return l.send(ctx, es.Request{Type: c.CommandType(), Data: data, Meta: es.Meta{Stream: s}})
}

func (l *orderLoad) stock(t *testing.T) {
	for i := range loadProducts {
		if reply := l.do(t.Context(), commands.Stocks.Stream(fmt.Sprintf("p-%d", i)), commands.ReceiveStock{Quantity: 1_000_000}); reply.Outcome != es.Accepted {
			t.Fatalf("%+v", reply.Error)
		}
	}
}

type latencies struct{ p50, p99 time.Duration }

// run measures from the time at which an order was due, so that waiting behind others counts.
func (l *orderLoad) run(t *testing.T, rate, seconds int) latencies {
	took := make([]time.Duration, rate*seconds)
	var sent sync.WaitGroup
	begun := time.Now()
	for i := range took {
		due := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		l.last++
		id, product := fmt.Sprintf("o-%d", l.last), fmt.Sprintf("p-%d", l.last%loadProducts)
		sent.Go(func() {
			reply := l.do(t.Context(), commands.Orders.Stream(id), commands.CreateOrder{
				CustomerID: "c-1", Currency: "USD", ShippingAddress: address,
				Items:   []commands.Item{{ProductID: product, Quantity: 1, Price: money.FromMinor(1999, 2)}},
				Payment: commands.OrderPayment{Method: "credit_card", Token: "tok_ok"},
			})
			took[i] = time.Since(due)
			if reply.Outcome != es.Accepted {
				t.Errorf("%s: %s %+v", id, reply.Outcome, reply.Error)
			}
		})
	}
	sent.Wait()
	slices.Sort(took)
	return latencies{took[len(took)/2], took[len(took)*99/100]}
}

// followAll connects and subscribes to what comes; nothing is read after that.
func followAll(t *testing.T, p *process, filter string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var c *websocket.Conn
	err := eventually(patience, func() (err error) { // so many at once may be told to wait: 429
		c, _, err = websocket.Dial(ctx, strings.Replace(p.HTTP, "http", "ws", 1)+"/ws", &websocket.DialOptions{Subprotocols: []string{"millstream.v1"}})
		return err
	})
	if err == nil {
		c.SetReadLimit(-1)
		err = c.Write(ctx, websocket.MessageText, []byte(`{"type":"subscribe","id":"a",`+filter+`"new":true}`))
	}
	if err == nil {
		_, _, err = c.Read(ctx) // live
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// lastWord reads what is left and returns how it ended.
func lastWord(t *testing.T, c *websocket.Conn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			return err
		}
	}
}

// resident is the memory of a process in bytes.
func resident(t *testing.T, p *process) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
