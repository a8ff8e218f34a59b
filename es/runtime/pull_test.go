package runtime

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es/natsstore"
)

func TestDeliveryOfReadsEveryFormOfAReplySubject(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reply            string
		sequence, behind uint64
		bad              bool
	}{
		"without a domain":        {"$JS.ACK.EVENTS.reader.1.42.7.1700000000000000000.3", 42, 3, false},
		"with domain and account": {"$JS.ACK.hub.ACCHASH.EVENTS.reader.1.42.7.1700000000000000000.3", 42, 3, false},
		"with something random":   {"$JS.ACK._.ACCHASH.EVENTS.reader.1.42.7.1700000000000000000.0.x1y2", 42, 0, false},
		"none":                    {"", 0, 0, true},
		"too short":               {"$JS.ACK.EVENTS.reader.1.42.7.1700000000000000000", 0, 0, true},
		"not a number":            {"$JS.ACK.EVENTS.reader.1.x.7.1700000000000000000.3", 0, 0, true},
		"of something else":       {"_INBOX.a.b.c.1.42.7.1700000000000000000.3", 0, 0, true},
	} {
		sequence, behind, err := deliveryOf(c.reply)
		if sequence != c.sequence || behind != c.behind || (err != nil) != c.bad {
			t.Errorf("%s: %d, %d, %v", name, sequence, behind, err)
		}
	}
}

// TestAReaderThatLosesItsConsumerGoesOnWhereItWas takes the consumer away between batches, on both kinds of connection.
func TestAReaderThatLosesItsConsumerGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]nats.Option{"usual": nil, "raw": {natsstore.RawHeaders}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t)
			conn, err := s.Connect(options...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.Close)
			if _, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LONG", Subjects: []string{"long"}}); err != nil {
				t.Fatal(err)
			}
			const all = 300
			for i := range all {
				if _, err := s.js.PublishMsg(t.Context(), &nats.Msg{Subject: "long", Header: nats.Header{"N": {fmt.Sprint(i + 1)}}, Data: []byte("x")}); err != nil {
					t.Fatal(err)
				}
			}
			sub := NewBatchSubscriber(BatchConfig{
				JetStream: s.js, Conn: conn, Stream: "LONG", Durable: "reader", Size: 7, Most: 20, Pause: time.Millisecond,
				Next:    func() uint64 { return 1 },
				Decode:  func(m natsstore.Message, _ uint64) (any, error) { return m.Header().Get("N") + string(m.Data), nil },
				Missing: func(sequence uint64) (any, error) { return nil, fmt.Errorf("%d is not missing", sequence) },
			})
			batches, err := sub.Subscribe(t.Context(), "long")
			if err != nil {
				t.Fatal(err)
			}
			var got, want []any
			for i := range all {
				want = append(want, fmt.Sprintf("%dx", i+1))
			}
			for lost := 0; len(got) < all; {
				m := <-batches
				b := BatchFrom(m.Context())
				got = append(got, b.Items...)
				if len(b.Items) > 20 {
					t.Errorf("a batch of %d", len(b.Items))
				}
				if lost < 2 && len(got) > 60*(lost+1) {
					lost++
					if err := s.js.DeleteConsumer(t.Context(), "LONG", "reader"); err != nil {
						t.Error(err)
					}
				}
				m.Ack()
			}
			if !slices.Equal(got, want) {
				t.Errorf("read %v", got)
			}
			if err := sub.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
