package natsstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
)

// TestRawConnectionsLeaveHeadersInFrontOfTheData cuts what a server sends at any places and reads it in any pieces.
func TestRawConnectionsLeaveHeadersInFrontOfTheData(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var sent, want bytes.Buffer
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			data := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 40), rapid.SliceOfN(rapid.Just(byte('x')), 70_000, 70_000), rapid.Just([]byte("HMSG a 1 2 3\r\nMSG a 1 3\r\n"))).Draw(t, "data")
			reply := rapid.SampledFrom([]string{"", "$JS.ACK.a.b.1.2.3.4.5 "}).Draw(t, "reply")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				header := "NATS/1.0 100 Idle Heartbeat\r\nA: 1\r\n\r\n"
				fmt.Fprintf(&sent, "HMSG events.a.b 7 %s%d %d\r\n%s%s\r\n", reply, len(header), len(header)+len(data), header, data)
				fmt.Fprintf(&want, "MSG events.a.b 7 %s%d\r\n%s%s\r\n", reply, len(header)+len(data), header, data)
			case 1:
				for _, b := range []*bytes.Buffer{&sent, &want} {
					fmt.Fprintf(b, "MSG events.a.b 7 %s%d\r\n%s\r\n", reply, len(data), data)
				}
			case 2:
				sent.WriteString("PING\r\n")
				want.WriteString("PING\r\n")
			case 3:
				info := fmt.Sprintf("INFO {%q:%q}\r\n", "x", bytes.Repeat([]byte("y"), rapid.SampledFrom([]int{1, 200_000}).Draw(t, "info")))
				sent.WriteString(info)
				want.WriteString(info)
			}
		}
		cuts := rapid.SliceOfN(rapid.IntRange(1, 30_000), 1, 8).Draw(t, "cuts")
		pieces := rapid.SliceOfN(rapid.IntRange(1, 40_000), 1, 8).Draw(t, "pieces")
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for i, rest := 0, sent.Bytes(); len(rest) > 0; i++ {
				n := min(cuts[i%len(cuts)], len(rest))
				if _, err := server.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		conn := newRawConn(client)
		defer conn.Close()
		var got bytes.Buffer
		for i := 0; ; i++ {
			piece := make([]byte, pieces[i%len(pieces)])
			n, err := conn.Read(piece)
			got.Write(piece[:n])
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("read %q\nwant %q", clipped(got.Bytes()), clipped(want.Bytes()))
		}
	})
}

func clipped(b []byte) []byte { return b[:min(len(b), 2000)] }

// TestMessagesReadAlikeOnEitherConnection sends commits to a subscriber on a raw connection and to one on another.
func TestMessagesReadAlikeOnEitherConnection(t *testing.T) {
	t.Parallel()
	server, err := StartServer(ServerConfig{Conf: millstream.NATSConf, DataDir: t.TempDir(), Fast: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	log := &Log{codec: Codec(t)}
	subscribe := func(options ...nats.Option) *nats.Subscription {
		nc, err := server.Connect(options...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		sub, err := nc.SubscribeSync("wire.>")
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	usual, raw := subscribe(), subscribe(RawHeaders)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	odd := CommitOf(Front, 3, 7, Opened{By: "ä \"<&>\"\r\n\r\n"})
	odd.Events[0].User = "Ada Löwe 100%\r\n"
	for name, c := range map[string]es.Commit{
		"one event":      CommitOf(Front, 1, 0, Opened{By: "ada"}),
		"several events": CommitOf(Front, 4, 9, Opened{By: "<ada>"}, Closed{}, Opened{By: "bob"}),
		"odd texts":      odd,
	} {
		msg, err := encode(log.codec, c)
		if err != nil {
			t.Fatal(err)
		}
		h := header(msg)
		h.Set(headerTogether, "1/2")
		if err := nc.PublishMsg(&nats.Msg{Subject: "wire.door.front", Header: h, Data: msg.Data}); err != nil {
			t.Fatal(err)
		}
		read := func(sub *nats.Subscription) (Message, []es.Recorded) {
			m, err := sub.NextMsgWithContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m.Subject = Subject(Front)
			got := NewMessage(m)
			events, err := log.DecodeMessage(got, func(string) bool { return true }, 42)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return got, events
		}
		want, wantEvents := read(usual)
		got, events := read(raw)
		if want.raw != "" || got.raw == "" {
			t.Fatalf("%s: both connections are of one kind", name)
		}
		if diff := cmp.Diff(wantEvents, events); diff != "" {
			t.Errorf("%s: events %s", name, diff)
		}
		if diff := cmp.Diff(want.Header(), got.Header()); diff != "" || !bytes.Equal(want.Data, got.Data) {
			t.Errorf("%s: headers %s, data %q and %q", name, diff, want.Data, got.Data)
		}
		if !want.MoreFollow() || !got.MoreFollow() {
			t.Errorf("%s: its place in what was stored together is lost", name)
		}
	}
}

func TestIgnoredEventsComeWithoutTheirDataAndUnknownOnesNotAtAll(t *testing.T) {
	t.Parallel()
	log := &Log{codec: Codec(t)}
	message := func(change func(nats.Header), events ...es.Event) Message {
		msg, err := encode(log.codec, CommitOf(Front, 1, 0, events...))
		if err != nil {
			t.Fatal(err)
		}
		h := header(msg)
		change(h)
		return NewMessage(&nats.Msg{Subject: Subject(Front), Header: h, Data: msg.Data})
	}
	opened := func(eventType string) bool { return eventType == "Opened" }
	same := func(nats.Header) {}
	got, err := log.DecodeMessage(message(same, Opened{By: "ada"}, Closed{}), opened, 42)
	if err != nil || len(got) != 2 || got[0].Event != (Opened{By: "ada"}) || got[1].Event != nil || got[1].ID != "c-1/2" || got[1].Version != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, m := range map[string]Message{
		"an unlisted type":          message(func(h nats.Header) { h.Set(headerType, "Burnt") }, Closed{}),
		"a version from the future": message(func(h nats.Header) { h.Set(headerEventVersion, "2") }, Closed{}),
		"an attribute that is gone": message(func(h nats.Header) { h.Del(headerID) }, Closed{}),
		"an attribute that doubles": message(func(h nats.Header) { h.Add(headerID, "c-1/1") }, Closed{}),
	} {
		if got, err := log.DecodeMessage(m, opened, 42); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%s: %+v, %v; want a permanent error", name, got, err)
		}
	}
}
