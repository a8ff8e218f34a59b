package natsstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/nats-io/nats.go/jetstream"
)

func TestSetUpCanBeRepeated(t *testing.T) {
	t.Parallel()
	nc := inProcess(t, estest.StartServer(t, millstream.NATSConf))
	js := estest.SetUp(t, nc, 1)
	estest.SetUp(t, nc, 1)
	var names []string
	list := js.StreamNames(t.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	if list.Err() != nil || len(names) != 10 {
		t.Errorf("%v, %v", names, list.Err())
	}
	stream, err := js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("the log could be purged")
	}
	if err := stream.SecureDeleteMsg(t.Context(), 1); err == nil {
		t.Error("an event could be deleted")
	}
}

func TestSetUpRefusesWhatWouldBreakAPromise(t *testing.T) {
	t.Parallel()
	js := estest.SetUp(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), 1)
	for _, test := range []struct {
		stream, field, want, found string
		change                     func(*jetstream.StreamConfig)
	}{
		{"EVENTS", "MaxMsgs", "none", "10", func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }},
		{"EVENTS", "MaxAge", "0s", "1h0m0s", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"EVENTS", "AllowAtomicPublish", "true", "false", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }},
		{"EVENTS", "AllowDirect", "true", "false", func(c *jetstream.StreamConfig) { c.AllowDirect = false }},
		{"EVENTS", "Subjects", "events.*.*", "events.*.* more.*", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more.*") }},
		{"COMMANDS", "AllowRollup", "false", "true", func(c *jetstream.StreamConfig) { c.AllowRollup = true }},
		{"COMMANDS", "NoAck", "false", "true", func(c *jetstream.StreamConfig) { c.NoAck = true }},
		{"SAGAS", "AllowDirect", "false", "true", func(c *jetstream.StreamConfig) { c.AllowDirect = true }},
	} {
		t.Run(test.stream+"/"+test.field, func(t *testing.T) {
			stream, err := js.Stream(t.Context(), test.stream)
			if err != nil {
				t.Fatal(err)
			}
			right := stream.CachedInfo().Config
			wrong := right
			test.change(&wrong)
			if _, err := js.UpdateStream(t.Context(), wrong); err != nil {
				t.Fatal(err)
			}
			err = natsstore.SetUp(t.Context(), js, 1)
			for _, part := range []string{test.stream, test.field, "must be " + test.want, "found " + test.found} {
				if !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not mention %q", err, part)
				}
			}
			if _, err := js.UpdateStream(t.Context(), right); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("subjects that another stream holds", func(t *testing.T) {
		if err := js.DeleteStream(t.Context(), natsstore.OutcomesStream); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MINE", Subjects: []string{"outcomes.>"}}); err != nil {
			t.Fatal(err)
		}
		if err := natsstore.SetUp(t.Context(), js, 1); !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), natsstore.OutcomesStream) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSetUpLeavesHarmlessDifferences(t *testing.T) {
	t.Parallel()
	js := estest.SetUp(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), 1)
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"EVENTS":      func(c *jetstream.StreamConfig) { c.Description, c.Duplicates = "ours", time.Minute },
		"OUTCOMES":    func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"SNAPSHOTS":   func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 },
		"DEADLETTERS": func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
	} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		change(&config)
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	if err := natsstore.SetUp(t.Context(), js, 1); err != nil {
		t.Error(err)
	}
	stream, err := js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil || stream.CachedInfo().Config.Description != "ours" {
		t.Errorf("%+v, %v", stream, err)
	}
}
