package runtime

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/es/schema"
)

const (
	catchUpPots = 500
	catchUpEach = 200 // commits of each pot
)

// BenchmarkCatchUp folds 100,000 commits of one event into a read model, from the server to the last checkpoint
// (replay), and, alternating with it, does the barest that could be: the same bodies, in memory already, decoded and
// upserted with a prepared statement in transactions of the size that replay came to (bare). ratio is replay's rate by the
// bare one's.
func BenchmarkCatchUp(b *testing.B) {
	log, js := catchUpLog(b)
	bodies := catchUpBodies(b, js)
	var replayed, bare time.Duration
	for b.Loop() {
		begun := time.Now()
		m, err := readmodel.Build(b.TempDir(), potsProjector())
		if err != nil {
			b.Fatal(err)
		}
		s := source{js: js, log: log, missing: func(sequence uint64) (any, error) { return log.At(b.Context(), es.Revision(sequence)) }}
		if err := s.replay(b.Context(), m, es.Revision(len(bodies)), time.Time{}, func(_, _ es.Revision) {}); err != nil {
			b.Fatal(err)
		}
		replayed += time.Since(begun)
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		begun = time.Now()
		foldBare(b, bodies)
		bare += time.Since(begun)
	}
	events := float64(b.N * len(bodies))
	b.ReportMetric(events/replayed.Seconds(), "replay-events/s")
	b.ReportMetric(events/bare.Seconds(), "bare-events/s")
	b.ReportMetric(bare.Seconds()/replayed.Seconds(), "ratio")
}

// catchUpLog is a log of catchUpPots times catchUpEach commits.
func catchUpLog(b *testing.B) (*natsstore.Log, jetstream.JetStream) {
	server := estest.StartServer(b, millstream.NATSConf)
	nc, err := server.Connect()
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
	var writers sync.WaitGroup
	for w := range catchUpPots {
		writers.Go(func() {
			var at es.Revision
			stream := pots.Stream(fmt.Sprintf("p-%d", w))
			for i := range catchUpEach {
				id := fmt.Sprintf("c-%d-%d", w, i)
				at, err = log.Append(b.Context(), es.Commit{Stream: stream, Expected: at, Events: []es.Recorded{{
					Event: coinsPut{i}, ID: id + "/1", Version: uint64(i + 1),
					Meta: es.Meta{Stream: stream, CommandID: id, Time: time.Unix(1, 0), Correlation: id, User: "ada"},
				}}})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	return log, js
}

type catchUpBody struct {
	pot  string
	data []byte
}

func catchUpBodies(b *testing.B, js jetstream.JetStream) []catchUpBody {
	consumer, err := js.OrderedConsumer(b.Context(), natsstore.EventsStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	it, err := consumer.Messages()
	if err != nil {
		b.Fatal(err)
	}
	defer it.Stop()
	bodies := make([]catchUpBody, catchUpPots*catchUpEach)
	for i := range bodies {
		m, err := it.Next()
		if err != nil {
			b.Fatal(err)
		}
		bodies[i] = catchUpBody{m.Subject()[len("events.pot."):], m.Data()}
	}
	return bodies
}

func foldBare(b *testing.B, bodies []catchUpBody) {
	const size = 4000
	db, err := sql.Open("millstream-sqlite3", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_journal_mode=WAL&_synchronous=OFF&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(b.Context(), potsProjector().Schema)
	must(err)
	for len(bodies) > 0 {
		n := min(size, len(bodies))
		tx, err := db.Begin()
		must(err)
		upsert, err := tx.Prepare(`INSERT INTO pots VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET coins = coins + excluded.coins`)
		must(err)
		for _, body := range bodies[:n] {
			var e coinsPut
			must(json.Unmarshal(body.data, &e))
			_, err := upsert.Exec(body.pot, e.Coins)
			must(err)
		}
		must(upsert.Close())
		must(tx.Commit())
		bodies = bodies[n:]
	}
}
