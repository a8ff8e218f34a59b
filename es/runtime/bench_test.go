package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

// BenchmarkLoadSnapshotted alternates cold loads of an aggregate of 100 events and of one of 10,000, both as an
// engine leaves them that takes a snapshot every 100 events; and of the latter without snapshots.
func BenchmarkLoadSnapshotted(b *testing.B) {
	s := estest.StartServer(b, millstream.NATSConf)
	nc, err := s.Connect()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err == nil {
		err = natsstore.SetUp(b.Context(), js, 1)
	}
	if err != nil {
		b.Fatal(err)
	}
	schemas, err := schema.New(potsDomain())
	if err != nil {
		b.Fatal(err)
	}
	log, err := natsstore.NewLog(nc, schemas)
	if err != nil {
		b.Fatal(err)
	}
	metrics := newMetrics(prometheus.NewRegistry(), slog.New(slog.DiscardHandler), es.Fast)
	opened := func(snapshotted bool) *executor {
		x := newExecutor(log, schemas, &durability{mode: es.Fast}, metrics)
		if snapshotted {
			x.snapshots = newSnapshots(natsstore.NewSnapshots(nc), schemas, 100, metrics)
		}
		return x
	}
	// Tails are half as long as they may become; the short one has none to spare, and is read in whole.
	sizes := map[string]int{"plain": 99, "short": 150, "long": 10_050}
	for id, events := range sizes {
		x := opened(id != "plain")
		for i := range events {
			if reply := x.execute(b.Context(), request(id, putCoins{1}, fmt.Sprintf("ms-0198f0a2b3c4d5e6f708192a3b%06d", i))); reply.Outcome != es.Accepted {
				b.Fatalf("%+v %+v", reply, reply.Error)
			}
			if x.snapshots != nil {
				x.writeSnapshots()
			}
		}
	}
	load := func(x *executor, id string) time.Duration {
		began := time.Now()
		inst, err := x.load(context.Background(), pots.Stream(id))
		took := time.Since(began)
		if err != nil || inst.version != uint64(sizes[id]) {
			b.Fatalf("%+v, %v", inst, err)
		}
		return took
	}
	with, without := opened(true), opened(false)
	var plain, short, long, whole time.Duration
	for b.Loop() {
		plain += load(without, "plain")
		short += load(with, "short")
		long += load(with, "long")
		whole += load(without, "long")
	}
	b.ReportMetric(0, "ns/op") // it would sum up all of them
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
	b.ReportMetric(each(plain), "µs/99-events-read-whole")
	b.ReportMetric(each(short), "µs/150-events")
	b.ReportMetric(each(long), "µs/10050-events")
	b.ReportMetric(each(whole), "µs/10050-events-read-whole")
	b.ReportMetric(float64(long)/float64(short), "10050/150")
	b.ReportMetric(float64(long)/float64(plain), "10050/99-whole")
}
