package natsstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

// knows is a program's registry: events by name, each with one schema a version.
func knows(t testing.TB, events map[string][]string) schema.Document {
	t.Helper()
	d := schema.Document{Events: map[string]map[int]json.RawMessage{}, Commands: map[string]map[string]json.RawMessage{}}
	for typ, versions := range events {
		d.Events[typ] = map[int]json.RawMessage{}
		for i, s := range versions {
			d.Events[typ][i+1] = json.RawMessage(s)
		}
	}
	return d
}

func TestRegistryGrowsAndRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	js := estest.SetUp(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), 1)
	const text, number = `{"type":"string"}`, `{"type":"number"}`
	old := knows(t, map[string][]string{"Opened": {text}})
	newer := knows(t, map[string][]string{"Opened": {text, number}, "Closed": {text}})
	changed := knows(t, map[string][]string{"Opened": {number, number}, "Closed": {text}})
	for _, step := range []struct {
		name    string
		program schema.Document
		refused string
		entry   es.Revision // of the registry afterwards
	}{
		{"the first program", old, "", 1},
		{"again", old, "", 1},
		{"a newer program", newer, "", 2},
		{"the older one, which could not read the newer one's events", old, "event Opened v2: is newer than this program, whose newest is v1", 2},
		{"a type changed without a new version", changed, `event Opened v1: type was "string", is now "number"; raise its version`, 2},
		{"the newer one again", newer, "", 2},
	} {
		err := natsstore.Register(t.Context(), js, step.program)
		if (err != nil) != (step.refused != "") || err != nil && (!errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), step.refused)) {
			t.Errorf("%s: got %v, want %q", step.name, err, step.refused)
		}
		if _, entry, err := natsstore.Registered(t.Context(), js); err != nil || entry != step.entry {
			t.Errorf("%s: the registry stands at %d, %v; want %d", step.name, entry, err, step.entry)
		}
	}
	if err := natsstore.AcceptSchemas(t.Context(), js, changed, 1); !errors.Is(err, es.ErrConflict) {
		t.Errorf("accepted over what was not looked at: %v", err)
	}
	if err := natsstore.AcceptSchemas(t.Context(), js, changed, 2); err != nil {
		t.Error(err)
	}
	if err := natsstore.Register(t.Context(), js, changed); err != nil {
		t.Errorf("what was accepted is refused: %v", err)
	}
	bucket, err := js.KeyValue(t.Context(), "registry")
	if err != nil {
		t.Fatal(err)
	}
	if history, err := bucket.History(t.Context(), "schemas"); err != nil || len(history) != 3 {
		t.Errorf("as a key-value bucket: %d entries, %v; want 3", len(history), err)
	}
}

func TestRegistryTakesProgramsThatStartTogether(t *testing.T) {
	t.Parallel()
	js := estest.SetUp(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), 1)
	var started sync.WaitGroup
	for range 8 {
		started.Go(func() {
			if err := natsstore.Register(t.Context(), js, natsstore.Codec(t).Document()); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	if stored, entry, err := natsstore.Registered(t.Context(), js); err != nil || entry != 1 || schema.Compare(stored, natsstore.Codec(t).Document()) != nil {
		t.Errorf("%v at %d, %v", stored, entry, err)
	}
}

func TestRegistryOnAClusterIsReadFromItsLeader(t *testing.T) {
	t.Parallel()
	cluster := estest.StartCluster(t, millstream.NATSConf, 3)
	var nodes []jetstream.JetStream
	for i := range 3 {
		nodes = append(nodes, estest.SetUp(t, estest.Connect(t, cluster.NodeURL(i), ""), 3))
	}
	// Each program knows more than the one before and starts on another node; the one before must then be refused.
	events := map[string][]string{}
	var before schema.Document
	for n := range 30 {
		events[fmt.Sprintf("E%d", n)] = []string{`{}`}
		program := knows(t, events)
		if err := natsstore.Register(t.Context(), nodes[n%3], program); err != nil {
			t.Fatal(err)
		}
		if err := natsstore.Register(t.Context(), nodes[(n+1)%3], before); n > 0 && !errors.Is(err, es.ErrPermanent) {
			t.Fatalf("an older program on another node: %v", err)
		}
		before = program
	}
	info, err := nodes[0].Stream(t.Context(), natsstore.RegistryStream)
	if err != nil || info.CachedInfo().Config.Replicas != 3 {
		t.Errorf("%+v, %v; want 3 replicas", info, err)
	}
}
