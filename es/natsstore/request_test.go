package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

// requests is an inbox beside a responder, which answers as the test says.
func requests(t *testing.T, answer func(*nats.Msg)) *inbox {
	t.Helper()
	nc := serve(t)
	if _, err := nc.Subscribe("ask", answer); err != nil {
		t.Fatal(err)
	}
	in, err := newInbox(nc)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func respond(t *testing.T, m *nats.Msg, data string) {
	t.Helper()
	if err := m.Respond([]byte(data)); err != nil {
		t.Error(err)
	}
}

func TestNobodyHearsTheAnswerToAnothersRequest(t *testing.T) {
	t.Parallel()
	// Two answers to each, as when two servers take themselves for the leader: the second comes when the place is
	// already another request's.
	in := requests(t, func(m *nats.Msg) {
		respond(t, m, string(m.Data))
		respond(t, m, string(m.Data))
	})
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 200 {
				want := strconv.Itoa(1000*w + i)
				m, err := in.request(t.Context(), &nats.Msg{Subject: "ask", Data: []byte(want)}, time.Minute)
				if err != nil || string(m.Data) != want {
					t.Errorf("asked %s, heard %v (%v)", want, m, err)
					return
				}
			}
		})
	}
	all.Wait()
	if in.taken != 0 || in.made > 8 {
		t.Errorf("%d places are taken, %d were made for 8 at a time", in.taken, in.made)
	}
}

func TestARequestGivenUpLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	held := make(chan *nats.Msg, 8)
	in := requests(t, func(m *nats.Msg) {
		if string(m.Data) == "later" {
			held <- m
			return
		}
		respond(t, m, string(m.Data))
	})
	subscriptions := in.nc.NumSubscriptions()
	ended, cancel := context.WithCancel(t.Context())
	go func() {
		held <- <-held // it has arrived
		cancel()
	}()
	if _, err := in.request(ended, &nats.Msg{Subject: "ask", Data: []byte("later")}, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := in.request(t.Context(), &nats.Msg{Subject: "ask", Data: []byte("later")}, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	respond(t, <-held, "too late")
	if m, err := in.request(t.Context(), &nats.Msg{Subject: "ask", Data: []byte("now")}, time.Minute); err != nil || string(m.Data) != "now" {
		t.Errorf("heard %v (%v)", m, err)
	}
	if n := in.nc.NumSubscriptions(); n != subscriptions+1 || in.taken != 0 {
		t.Errorf("%d subscriptions more, %d places are taken", n-subscriptions, in.taken)
	}
}

func TestAClosedConnectionEndsRequests(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	in := requests(t, func(*nats.Msg) { close(asked) })
	failed := make(chan error, 1)
	go func() {
		_, err := in.request(t.Context(), &nats.Msg{Subject: "ask"}, time.Minute)
		failed <- err
	}()
	<-asked
	in.nc.Close()
	if err := <-failed; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := in.request(t.Context(), &nats.Msg{Subject: "ask"}, time.Minute); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
}

// The short way to read an acknowledgement finds what encoding/json finds, or leaves it to that.
func TestPlainAcknowledgementsReadAsJSONDoes(t *testing.T) {
	t.Parallel()
	if seq, ok := plain([]byte(`{"stream":"EVENTS","seq":7}`)); !ok || seq != 7 {
		t.Error("the server's ordinary acknowledgement is read the long way")
	}
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.OneOf(rapid.SampledFrom([]string{"EVENTS", "", `A\"`, `"`, `\`}), rapid.String()).Draw(t, "stream")
		rest := rapid.SampledFrom([]string{`","seq":`, `", "seq":`, `","domain":"d","seq":`, `","seq":0`, `","seq":-`, `","error":{"code":1},"seq":`}).Draw(t, "rest")
		end := rapid.SampledFrom([]string{"}", "", " }", `,"duplicate":true}`, "}}"}).Draw(t, "end")
		data := []byte(`{"stream":"` + stream + rest + strconv.FormatUint(rapid.Uint64().Draw(t, "seq"), 10) + end)
		seq, ok := plain(data)
		if !ok {
			return
		}
		var ack struct {
			Stream string `json:"stream"`
			Seq    uint64 `json:"seq"`
		}
		if err := json.Unmarshal(data, &ack); err == nil && uint64(seq) != ack.Seq {
			t.Fatalf("%s: read %d, want %d", data, seq, ack.Seq)
		}
	})
}
