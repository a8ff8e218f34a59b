package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/money"
)

// TestKilledAtRandomPointsNothingIsLostOrDoubled kills the process 20 times during an import and the sagas that
// follow on it. MILLSTREAM_SEED repeats a run's orders and kill points.
func TestKilledAtRandomPointsNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	const kills, orders = 20, 500
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
	events := countEvents(t, nc)
	promised := &accepted{}
	imported := make(chan error, 1)
	file := someOrders(t, random, orders)
	go func() {
		s, err := ops.Import(t.Context(), strings.NewReader(file), ops.ImportConfig{
			Send: promised.listen(ops.Call(nc, 2*time.Second)), Concurrency: 16, Patience: 5 * time.Minute,
			Fault: func(f ops.Fault) { t.Errorf("line %d: %s: %s", f.Line, f.Reply.Outcome, f.Reply.Error.Message) },
		})
		if err == nil && s.Accepted != s.Lines {
			err = fmt.Errorf("import: %+v: want every line accepted", s)
		}
		imported <- err
	}()
	for range kills {
		events.wait(t, 1+random.Int64N(120))
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
		p = start()
	}
	if err := <-imported; err != nil {
		t.Fatal(err)
	}
	finish(t, nc, p, orders, promised)
	log := readLog(t, nc)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	checkReadModels(t, dir, log)
}

// finish waits until every order and saga has come to its end and the node's read models show it, then holds the log
// against what was promised.
func finish(t testing.TB, nc *nats.Conn, p *process, orders int, promised *accepted) {
	t.Helper()
	err := eventually(2*patience, func() error {
		if err := sagasEnded(t.Context(), nc); err != nil {
			return err
		}
		log, err := tryReadLog(t.Context(), nc)
		if err != nil {
			return err
		}
		counts := orderStatuses(log)
		if counts["PAID"]+counts["CANCELLED"] != orders {
			return fmt.Errorf("orders: %v, want %d PAID or CANCELLED", counts, orders)
		}
		return caughtUp(p, log[len(log)-1].Revision)
	})
	if err != nil {
		explain(t, nc)
		t.Fatal(err)
	}
	log := readLog(t, nc)
	t.Logf("orders: %v", orderStatuses(log))
	checkLog(t, log, promised)
}

// seeded prints the seed that repeats this run.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("MILLSTREAM_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("MILLSTREAM_SEED=%d repeats this run", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// freeAddress is one that nobody listened on a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// someOrders is an import file: stock for all, then orders of which some are declined and some need three attempts.
func someOrders(t testing.TB, random *rand.Rand, orders int) string {
	t.Helper()
	var file strings.Builder
	add := func(effect es.Effect, id string) {
		send, ok := effect.(es.Send)
		if !ok {
			t.Fatalf("%T is no es.Send", effect)
		}
		data, err := json.Marshal(send.Command)
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(ops.Line{Stream: send.Stream.String(), Type: send.Command.CommandType(), ID: id, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&file, "%s\n", line)
	}
	const products = 10
	for p := range products {
		id := fmt.Sprintf("p-%d", p)
		add(commands.Stocks.To(id, commands.ReceiveStock{Quantity: 100_000}), "receive-"+id)
	}
	fmt.Fprintln(&file, `{"wait":true}`)
	tokens := []string{"tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_flaky"}
	for o := range orders {
		create := commands.CreateOrder{
			CustomerID: fmt.Sprintf("c-%d", random.IntN(20)), Currency: "USD", ShippingAddress: address,
			Payment: commands.OrderPayment{Method: "credit_card", Token: tokens[random.IntN(len(tokens))]},
		}
		for range 1 + random.IntN(3) {
			create.Items = append(create.Items, commands.Item{
				ProductID: fmt.Sprintf("p-%d", random.IntN(products)), Quantity: 1 + random.Int64N(5), Price: money.FromMinor(1+random.Int64N(20_000), 2),
			})
		}
		id := fmt.Sprintf("o-%d", o)
		add(commands.Orders.To(id, create), "create-"+id)
	}
	return file.String()
}
