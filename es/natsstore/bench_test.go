package natsstore

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

func benchLog(b *testing.B) (*Log, *nats.Conn) {
	b.Helper()
	nc := serve(b)
	js, err := jetstream.New(nc)
	if err == nil {
		err = SetUp(b.Context(), js, 1)
	}
	if err != nil {
		b.Fatal(err)
	}
	log, err := NewLog(nc, Codec(b))
	if err != nil {
		b.Fatal(err)
	}
	return log, nc
}

// BenchmarkAppend alternates an append with a bare guarded publish of the same bytes: the ratio is our share.
func BenchmarkAppend(b *testing.B) {
	log, nc := benchLog(b)
	commit := CommitOf(Front, 1, 0, Opened{By: "ada"})
	msg, err := encode(log.codec, commit)
	if err != nil {
		b.Fatal(err)
	}
	var ours, bare time.Duration
	i := 0
	for b.Loop() {
		commit.Stream.ID = strconv.Itoa(i)
		commit.Events[0].Stream.ID = commit.Stream.ID
		start := time.Now()
		if _, err := log.Append(b.Context(), commit); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		m := &nats.Msg{Subject: "events.bare." + commit.Stream.ID, Header: msg.Header, Data: msg.Data}
		m.Header.Set(ExpectedRevision, "0")
		start = time.Now()
		if _, err := nc.RequestMsgWithContext(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(start)
		i++
	}
	report(b, ours, bare)
}

// BenchmarkLoad alternates a load with the bare page that it stands on, not decoded, not proven.
func BenchmarkLoad(b *testing.B) {
	for _, size := range []uint64{10, 100, 1000} {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) { benchmarkLoad(b, size) })
	}
}

func benchmarkLoad(b *testing.B, size uint64) {
	log, _ := benchLog(b)
	var last es.Revision
	for v := range size {
		var err error
		if last, err = log.Append(b.Context(), CommitOf(Front, v+1, last, Opened{By: fmt.Sprint(v)})); err != nil {
			b.Fatal(err)
		}
	}
	var ours, bare time.Duration
	for b.Loop() {
		start := time.Now()
		h, err := log.Load(b.Context(), Front, es.Range{})
		if err != nil || uint64(len(h.Events)) != size {
			b.Fatal(len(h.Events), err)
		}
		ours += time.Since(start)
		start = time.Now()
		p, err := log.askPage(b.Context(), front, 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.wait(b.Context()); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(start)
	}
	report(b, ours, bare)
}

// BenchmarkEncode makes the message of a commit.
func BenchmarkEncode(b *testing.B) {
	codec := Codec(b)
	for _, n := range []int{1, 5} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			commit := CommitOf(Front, 1, 0, slices.Repeat([]es.Event{Opened{By: "ada"}}, n)...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := encode(codec, commit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func report(b *testing.B, ours, bare time.Duration) {
	b.ReportMetric(0, "ns/op") // it would sum up both
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "µs/ours")
	b.ReportMetric(float64(bare.Microseconds())/float64(b.N), "µs/bare")
	b.ReportMetric(float64(ours)/float64(bare), "ours/bare")
}
