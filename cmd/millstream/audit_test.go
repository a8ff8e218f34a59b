package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
	"github.com/millstream-es/millstream/events"
)

// accepted remembers every reply that promised something.
type accepted struct {
	mu      sync.Mutex
	replies []es.Reply
}

// listen passes a sender's replies on and remembers the accepted ones.
func (a *accepted) listen(send ops.Sender) ops.Sender {
	return func(ctx context.Context, r es.Request) es.Reply {
		reply := send(ctx, r)
		if reply.Outcome == es.Accepted {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.replies = append(a.replies, reply)
		}
		return reply
	}
}

func connect(t testing.TB, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	options = append(options, nats.MaxReconnects(-1), nats.ReconnectWait(nats.DefaultReconnectWait/20), nats.IgnoreAuthErrorAbort())
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// readAll reads a stream, or the last message of each subject, and leaves no consumer behind.
func readAll(ctx context.Context, nc *nats.Conn, stream, filter string, policy jetstream.DeliverPolicy, f func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		DeliverPolicy: policy, FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, Replicas: 1, MemoryStorage: true,
	})
	if err != nil {
		return fmt.Errorf("create a consumer on %s: %w", stream, err)
	}
	defer js.DeleteConsumer(context.WithoutCancel(ctx), stream, consumer.CachedInfo().Name)
	for left := consumer.CachedInfo().NumPending; left > 0; {
		batch, err := consumer.Fetch(500, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			if err := f(m, meta); err != nil {
				return err
			}
			if left = meta.NumPending; left == 0 {
				return nil
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
	}
	return nil
}

// readLog reads every event there is, as soon as it can be read.
func readLog(t testing.TB, nc *nats.Conn) (log []es.Recorded) {
	t.Helper()
	err := eventually(patience, func() (err error) {
		log, err = tryReadLog(t.Context(), nc)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// counter counts events as they happen.
type counter struct {
	seen atomic.Int64
	more chan struct{} // signalled with every event
}

func countEvents(t testing.TB, nc *nats.Conn) *counter {
	t.Helper()
	c := &counter{more: make(chan struct{}, 1)}
	_, err := nc.Subscribe("events.>", func(*nats.Msg) {
		c.seen.Add(1)
		select {
		case c.more <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wait returns as soon as n more events have been seen.
func (c *counter) wait(t testing.TB, n int64) {
	t.Helper()
	target, deadline := c.seen.Load()+n, time.After(patience)
	for c.seen.Load() < target {
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("%d events seen after %s, waiting for %d", c.seen.Load(), patience, target)
		}
	}
}

func tryReadLog(ctx context.Context, nc *nats.Conn) ([]es.Recorded, error) {
	schemas, err := schema.New(domain)
	if err != nil {
		return nil, err
	}
	log, err := natsstore.NewLog(nc, schemas)
	if err != nil {
		return nil, err
	}
	var all []es.Recorded
	err = readAll(ctx, nc, natsstore.EventsStream, "events.>", jetstream.DeliverAllPolicy, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		commit, err := log.Decode(m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream)
		all = append(all, commit...)
		return err
	})
	return all, err
}

// checkLog holds the log against the promises: no revision is missing, versions count 1, 2, 3 …, a command id stands
// in one commit, and whatever was accepted is there, where the reply said. Business effects happened once.
func checkLog(t testing.TB, log []es.Recorded, promised *accepted) {
	t.Helper()
	type commandKey struct {
		stream es.Stream
		id     string
	}
	versions := map[es.Stream]uint64{}
	commits := map[commandKey]es.Revision{}
	once := map[string]int{}
	last := es.Revision(0)
	for _, r := range log {
		if r.Revision != last && r.Revision != last+1 {
			t.Errorf("revision %d follows %d", r.Revision, last)
		}
		last = r.Revision
		versions[r.Stream]++
		if r.Version != versions[r.Stream] {
			t.Errorf("%s: version %d at revision %d, want %d", r.Stream, r.Version, r.Revision, versions[r.Stream])
		}
		key := commandKey{r.Stream, r.CommandID}
		if before, known := commits[key]; known && before != r.Revision {
			t.Errorf("%s: command %s took effect at revisions %d and %d", r.Stream, r.CommandID, before, r.Revision)
		}
		commits[key] = r.Revision
		switch e := r.Event.(type) {
		case events.OrderPaid, events.OrderCreated, events.OrderCancelled, events.PaymentProcessed, events.PaymentRequested, events.PaymentRefunded:
			once[r.EventType()+" "+r.Stream.ID]++
		case events.StockReserved:
			once[r.EventType()+" "+r.Stream.ID+" for "+e.OrderID]++
		case events.StockReleased:
			once[r.EventType()+" "+r.Stream.ID+" for "+e.OrderID]++
		}
	}
	for what, times := range once {
		if times != 1 {
			t.Errorf("%s happened %d times", what, times)
		}
	}
	promised.mu.Lock()
	defer promised.mu.Unlock()
	for _, reply := range promised.replies {
		stream, err := es.ParseStream(reply.Stream)
		if err != nil {
			t.Fatal(err)
		}
		if found := commits[commandKey{stream, reply.CommandID}]; found != reply.Revision {
			t.Errorf("%s: command %s was accepted at revision %d and stands at %d (0: nowhere)", stream, reply.CommandID, reply.Revision, found)
		}
	}
	t.Logf("%d events in %d streams, %d accepted replies", len(log), len(versions), len(promised.replies))
}

// sagasEnded says which processes still owe something.
func sagasEnded(ctx context.Context, nc *nats.Conn) error {
	var open []error
	err := readAll(ctx, nc, natsstore.SagasStream, "sagas.>", jetstream.DeliverLastPerSubjectPolicy, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		var last transition
		if err := json.Unmarshal(m.Data(), &last); err != nil {
			return err
		}
		if !last.Done || slices.ContainsFunc(last.Effects, effect.isCommand) {
			open = append(open, fmt.Errorf("%s has not ended", m.Subject()))
		}
		return nil
	})
	return errors.Join(append(open, err)...)
}

// explain prints what there is to know of processes that have not ended.
func explain(t testing.TB, nc *nats.Conn) {
	t.Helper()
	open := map[string]bool{}
	show := func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		t.Logf("%s %d: %s", m.Subject(), meta.Sequence.Stream, m.Data())
		return nil
	}
	err := readAll(t.Context(), nc, natsstore.SagasStream, "sagas.>", jetstream.DeliverLastPerSubjectPolicy, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		var last transition
		err := json.Unmarshal(m.Data(), &last)
		if !last.Done {
			open[m.Subject()] = true
		}
		return err
	})
	if err != nil {
		t.Log(err)
	}
	for subject := range open {
		key := subject[strings.LastIndexByte(subject, '.')+1:]
		if err := readAll(t.Context(), nc, natsstore.SagasStream, subject, jetstream.DeliverAllPolicy, show); err != nil {
			t.Log(err)
		}
		for _, r := range readLog(t, nc) {
			body, err := json.Marshal(r.Event)
			if err != nil {
				t.Log(err)
			}
			if r.Stream.ID == key || strings.HasPrefix(r.Stream.ID, key+"-") || strings.Contains(string(body), `"`+key+`"`) {
				t.Logf("%d %s %s %s %s", r.Revision, r.Time.Format(time.RFC3339Nano), r.Stream, r.EventType(), body)
			}
		}
	}
	if err := readAll(t.Context(), nc, natsstore.DeadLettersStream, "deadletters.>", jetstream.DeliverAllPolicy, show); err != nil {
		t.Log(err)
	}
}

// transition is what is read of a process's last step.
type transition struct {
	Done    bool     `json:"done"`
	Effects []effect `json:"effects"`
}

type effect struct {
	Kind string `json:"kind"`
}

func (e effect) isCommand() bool { return e.Kind == "send" }

// caughtUp says whether a node's read models show everything up to a revision.
func caughtUp(p *process, last es.Revision) error {
	var report struct{ Checks []runtime.Check }
	if err := getJSON(p.HTTP+"/readyz", &report); err != nil {
		return err
	}
	seen := 0
	for _, c := range report.Checks {
		if !strings.HasPrefix(c.Name, "projector ") {
			continue
		}
		seen++
		if want := fmt.Sprintf("revision %d, 0 behind", last); c.Detail != want {
			return fmt.Errorf("%s: %s, want %s", c.Name, c.Detail, want)
		}
	}
	if seen != len(domain.Projectors) {
		return fmt.Errorf("%d projectors report, want %d", seen, len(domain.Projectors))
	}
	return nil
}

// checkReadModels builds every read model anew from the log and compares it with that of a node which has stopped.
func checkReadModels(t testing.TB, dir string, log []es.Recorded) {
	t.Helper()
	for _, p := range domain.Projectors {
		fresh, err := readmodel.Open(t.TempDir(), p)
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		if err := fresh.Apply(t.Context(), readmodel.Batch{Events: log, Last: log[len(log)-1].Revision, LastID: log[len(log)-1].ID}); err != nil {
			t.Fatal(err)
		}
		kept, err := readmodel.Open(filepath.Join(dir, "readmodels"), p)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		diff, err := readmodel.Equal(t.Context(), kept, fresh)
		if err != nil {
			t.Fatal(err)
		}
		if diff != "" {
			t.Errorf("read model %s is not what a rebuild gives: %s", p.Name, diff)
		}
	}
}

// orderStatuses counts orders by status, from the log.
func orderStatuses(log []es.Recorded) map[string]int {
	status := map[string]string{}
	for _, r := range log {
		switch r.Event.(type) {
		case events.OrderCreated:
			status[r.Stream.ID] = "CREATED"
		case events.OrderPaid:
			status[r.Stream.ID] = "PAID"
		case events.OrderCancelled:
			status[r.Stream.ID] = "CANCELLED"
		}
	}
	counts := map[string]int{}
	for s := range maps.Values(status) {
		counts[s]++
	}
	return counts
}
