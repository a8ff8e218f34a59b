package ops_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go/jetstream"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/schema"
)

// The archive's own domain: a lamp that is switched, and a saga that hears of it.

type lampEvent interface {
	es.Event
	lamp()
}

type lit struct {
	By string `json:"by"`
}
type dark struct{}

func (lit) EventType() string  { return "Lit" }
func (dark) EventType() string { return "Dark" }
func (lit) lamp()              {}
func (dark) lamp()             {}

type light struct{}

func (light) CommandType() string { return "Light" }

type lamp struct{}

func (lamp) Decide(light, es.Meta) ([]lampEvent, error) { return nil, nil }
func (l lamp) Evolve(lampEvent) lamp                    { return l }

type watch struct{ Seen int }

func (w watch) React(es.Recorded) (watch, []es.Effect) { return w, nil }

func lampDomain() es.Domain {
	return es.Domain{
		Name:       "lamps",
		Events:     []es.EventDef{es.EventOf[lit](1), es.EventOf[dark](1)},
		Aggregates: []es.Aggregate{es.Define[lamp]("lamp", light{}), es.Define[lamp]("torch", light{}).In("torches")},
		Sagas: []es.Saga{es.DefineSaga[watch]("watch", es.Interest{Handles: []es.Event{lit{}}, Ignores: []es.Event{dark{}}},
			func(r es.Recorded) (string, bool) { return r.Stream.ID, true })},
		Gateways: []es.Gateway{{Name: "bell", Interest: es.Interest{Handles: []es.Event{lit{}}, Ignores: []es.Event{dark{}}}}},
	}
}

// system is a log on a server of its own.
type system struct {
	js     jetstream.JetStream
	log    *natsstore.Log
	sagas  *natsstore.SagaLog
	begins map[string]es.Revision // what Restore asked for
}

func newSystem(t *testing.T, domain es.Domain) *system {
	t.Helper()
	nc, err := estest.StartServer(t, millstream.NATSConf).Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	codec, err := schema.New(domain)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{js: estest.SetUp(t, nc, 1), begins: map[string]es.Revision{}}
	s.sagas = natsstore.NewSagaLog(s.js)
	if s.log, err = natsstore.NewLog(nc, codec); err != nil {
		t.Fatal(err)
	}
	return s
}

// fill writes six commits, two of several events, to three streams, and two saga transitions.
func (s *system) fill(t *testing.T) {
	t.Helper()
	last := map[es.Stream]es.Revision{}
	versions := map[es.Stream]uint64{}
	for i, c := range []struct {
		stream es.Stream
		events []es.Event
	}{
		{es.Stream{Category: "lamp", ID: "a"}, []es.Event{lit{"ada <\"&> ü"}}},
		{es.Stream{Category: "torch", ID: "a"}, []es.Event{lit{"ada"}, dark{}, lit{"bob"}}},
		{es.Stream{Category: "lamp", ID: "b"}, []es.Event{lit{"bob"}}},
		{es.Stream{Category: "lamp", ID: "a"}, []es.Event{dark{}, lit{"eve"}}},
		{es.Stream{Category: "torch", ID: "a"}, []es.Event{dark{}}},
		{es.Stream{Category: "lamp", ID: "b"}, []es.Event{dark{}}},
	} {
		commit := es.Commit{Stream: c.stream, Expected: last[c.stream]}
		for n, e := range c.events {
			versions[c.stream]++
			commit.Events = append(commit.Events, es.Recorded{
				Event: e, ID: fmt.Sprintf("c-%d/%d", i, n+1), Version: versions[c.stream],
				Meta: es.Meta{Stream: c.stream, CommandID: fmt.Sprintf("c-%d", i), User: "ada löwe", Correlation: "story", Causation: "why/1",
					Traceparent: "00-a-b-01", RequestHash: "abc", Time: time.Date(2026, 1, 31, 12, 0, i, 1000, time.UTC)},
			})
		}
		var err error
		if last[c.stream], err = s.log.Append(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	var sequence uint64
	for n := range 2 {
		var err error
		data := fmt.Sprintf(`{"number":%d,"trigger":{"kind":"event","id":"c-0/1","time":"2026-01-31T12:00:00Z"},"state":{"Seen":%d},"position":{"revision":1,"version":1}}`, n+1, n)
		if sequence, err = s.sagas.Append(t.Context(), "watch", "a", []byte(data), sequence); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *system) export(t *testing.T, change func(*ops.ExportConfig)) ([]byte, ops.Proof) {
	t.Helper()
	c := ops.ExportConfig{Log: s.log, JetStream: s.js, Domain: lampDomain()}
	if change != nil {
		change(&c)
	}
	var file bytes.Buffer
	proof, err := ops.Export(t.Context(), &file, c)
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), proof
}

func (s *system) restore(t *testing.T, file []byte) (ops.Proof, error) {
	t.Helper()
	return ops.Restore(t.Context(), bytes.NewReader(file), ops.RestoreConfig{
		Log: s.log, JetStream: s.js, Domain: lampDomain(),
		Begin: func(_ context.Context, queue string, after es.Revision) error { s.begins[queue] = after; return nil },
	})
}

// events reads everything back, in the log's order.
func (s *system) events(t *testing.T) []es.Recorded {
	t.Helper()
	var all []es.Recorded
	err := s.log.Each(t.Context(), natsstore.Span{}, func(c natsstore.Stored, _ es.Revision) error {
		commit, err := s.log.Read(c)
		all = append(all, commit...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func unpack(t *testing.T, file []byte) string {
	t.Helper()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	text, err := d.DecodeAll(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnArchiveComesBackAsItWas(t *testing.T) {
	t.Parallel()
	first, second := newSystem(t, lampDomain()), newSystem(t, lampDomain())
	first.fill(t)
	file, proof := first.export(t, nil)
	if proof.Events != 9 || proof.Commits != 6 || proof.Streams != 3 || proof.Transitions != 2 || proof.First != 1 || proof.Last != 6 || !proof.Whole {
		t.Errorf("%+v", proof)
	}
	restored, err := second.restore(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(proof, restored); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(first.events(t), second.events(t)); diff != "" {
		t.Error(diff)
	}
	if _, again := second.export(t, nil); again.SHA256 != proof.SHA256 {
		t.Errorf("exported again: %+v, want %+v", again, proof)
	}
	last, err := second.sagas.Last(t.Context(), "watch", "a")
	if err != nil || !strings.Contains(string(last.Data), `"number":2`) {
		t.Errorf("the saga stands at %s, %v", last.Data, err)
	}
	// The saga hears again from the beginning, and knows what it has heard; the gateway had delivered nothing.
	if diff := cmp.Diff(map[string]es.Revision{"gateway-bell": 0}, second.begins); diff != "" {
		t.Error(diff)
	}
	if _, err := second.restore(t, file); !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored twice: %v", err)
	}
	if _, err := newSystem(t, lampDomain()).restore(t, []byte(unpack(t, file))); err != nil {
		t.Errorf("without compression: %v", err)
	}
}

func TestAPartIsRestoredForReadingOnly(t *testing.T) {
	t.Parallel()
	s := newSystem(t, lampDomain())
	s.fill(t)
	for name, c := range map[string]struct {
		change        func(*ops.ExportConfig)
		events, first uint64
		last          es.Revision
		begins        es.Revision // of the restored log
	}{
		"a category":       {func(c *ops.ExportConfig) { c.Category = "torch" }, 4, 2, 5, 2},
		"up to a revision": {func(c *ops.ExportConfig) { c.UpTo = 3 }, 5, 1, 3, 3},
		"both":             {func(c *ops.ExportConfig) { c.Category, c.UpTo = "lamp", 3 }, 2, 1, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			file, proof := s.export(t, c.change)
			if proof.Whole || proof.Events != c.events || uint64(proof.First) != c.first || proof.Last != c.last || proof.Transitions != 0 {
				t.Errorf("%+v", proof)
			}
			to := newSystem(t, lampDomain())
			if _, err := to.restore(t, file); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]es.Revision{"gateway-bell": c.begins, "saga-watch": c.begins}, to.begins); diff != "" {
				t.Error(diff)
			}
			if _, again := to.export(t, func(x *ops.ExportConfig) { c.change(x); x.UpTo = 0; x.Category = "" }); again.Events != proof.Events || again.Streams != proof.Streams {
				t.Errorf("restored %+v of %+v", again, proof)
			}
		})
	}
}

func TestADamagedArchiveChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, lampDomain())
	s.fill(t)
	file, _ := s.export(t, nil)
	text := unpack(t, file)
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	without := func(i int) string { return strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "") }
	flipped := append([]byte{}, file...)
	flipped[len(flipped)/2] ^= 1
	other := lampDomain()
	other.Events, other.Sagas, other.Gateways = other.Events[:1], nil, nil
	to, narrow := newSystem(t, lampDomain()), newSystem(t, other)
	for name, c := range map[string]struct {
		to   *system
		file string
		want string
	}{
		"a cut file":                    {to, string(file[:len(file)-20]), "the file is damaged after line"},
		"a flipped bit":                 {to, string(flipped), ""},
		"an empty file":                 {to, "", "without its proof"},
		"no archive":                    {to, "hello\n", "line 1: permanent: this is no CloudEvent"},
		"commands instead of events":    {to, `{"stream":"lamp/a","type":"Light"}` + "\n", "line 1: permanent: this is no line of an archive"},
		"without its proof":             {to, strings.Join(lines[:len(lines)-1], ""), "without its proof"},
		"a line behind the proof":       {to, text + lines[0], "something follows the proof"},
		"a saga's line is missing":      {to, without(0), "it holds transitions 1, its proof says 2"},
		"the last event is missing":     {to, without(len(lines) - 2), "it holds events 8, its proof says 9"},
		"an event between is missing":   {to, without(5), "the log is not whole"},
		"a changed event":               {to, strings.Replace(text, "eve", "ewe", 1), "it holds sha256"},
		"a changed time":                {to, strings.Replace(text, "T12:00:03", "T12:00:04", 1), "it holds sha256"},
		"an event that does not fit":    {to, strings.Replace(text, `"data":{"by":"eve"}`, `"data":{"by":1}`, 1), "Lit"},
		"a changed count in the proof":  {to, strings.Replace(text, `"events":9`, `"events":8`, 1), "it holds events 9, its proof says 8"},
		"a proof that is not its own":   {to, strings.Replace(text, `"lastRevision":6`, `"lastRevision":7`, 1), "the proof contradicts itself"},
		"a program that knows too less": {narrow, text, `event type "Dark" is not listed`},
	} {
		_, err := c.to.restore(t, []byte(c.file))
		if !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if last, err := c.to.log.LastRevision(t.Context()); err != nil || last != 0 || len(c.to.begins) > 0 {
			t.Fatalf("%s: the log goes up to %d, %v; queues %v", name, last, err, c.to.begins)
		}
	}
}

func TestARunningEngineKeepsAnArchiveOut(t *testing.T) {
	t.Parallel()
	s := newSystem(t, lampDomain())
	s.fill(t)
	file, _ := s.export(t, nil)
	to := newSystem(t, lampDomain())
	consumer, err := to.js.CreateConsumer(t.Context(), natsstore.EventsStream, jetstream.ConsumerConfig{Durable: "saga-watch", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := consumer.Consume(func(jetstream.Msg) {})
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Stop()
	patience, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for info := consumer.CachedInfo(); info.NumWaiting == 0; {
		if info, err = consumer.Info(patience); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := to.restore(t, file); !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), "an engine is running (consumer saga-watch") {
		t.Errorf("got %v", err)
	}
}
