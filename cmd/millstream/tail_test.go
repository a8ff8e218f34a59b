package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestTailSurvivesAnOutage kills the servers under a tail: it goes on with no gap and nothing twice, and ends cleanly.
func TestTailSurvivesAnOutage(t *testing.T) {
	t.Parallel()
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
	receive := func() {
		t.Helper()
		err := eventually(patience, func() error {
			m, err := nc.Request("call.stock.p-1.ReceiveStock", []byte(`{"quantity":1}`), 5*time.Second)
			if err == nil && m.Header.Get("Nats-Service-Error") != "" {
				err = fmt.Errorf("%s", m.Data)
			}
			if err != nil && nc.Status() == nats.CONNECTED {
				t.Logf("trying again: %v", err)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		receive()
	}
	tail, lines := launchTail(t, "--server", p.NATS, "--category", "stock", "--last", "2", "--json")
	next := 2
	want := func(upTo int) {
		t.Helper()
		for ; next <= upTo; next++ {
			select {
			case line, open := <-lines:
				var e struct {
					Revision     int
					Stream, Type string
				}
				if err := json.Unmarshal([]byte(line), &e); !open || err != nil || e.Revision != next || e.Stream != "stock/p-1" || e.Type != "StockReceived" {
					t.Fatalf("got %q (%v), want revision %d; it said:\n%s", line, err, next, tail.log)
				}
			case <-time.After(patience):
				t.Fatalf("revision %d has not come; it said:\n%s", next, tail.log)
			}
		}
	}
	want(3)
	receive()
	want(4)
	for upTo := 6; upTo <= 8; upTo += 2 {
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
		p = start()
		receive()
		receive()
		want(upTo)
	}
	interrupt(t, tail)
	if line, open := <-lines; open {
		t.Errorf("something more came: %s", line)
	}
	tail, lines = launchTail(t, "--server", p.NATS, "--stream", "stock/p-1", "--after", "7")
	readable := regexp.MustCompile(`^..:..:..       8  stock/p-1                  8  StockReceived            \{"quantity":1\}$`)
	if line := <-lines; !readable.MatchString(line) {
		t.Errorf("to be read by people: %q; it said:\n%s", line, tail.log)
	}
	interrupt(t, tail)
}

func launchTail(t *testing.T, flags ...string) (*process, <-chan string) {
	t.Helper()
	tail, err := launch(nil, "millstream", append([]string{"tail"}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tail.bury(t) })
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(tail.stdout); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	return tail, lines
}

// interrupt is ^C, which ends it cleanly.
func interrupt(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("it ended with %v:\n%s", p.err, p.log)
		}
	case <-time.After(patience):
		t.Error("^C does not end it")
	}
}
