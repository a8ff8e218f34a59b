package natsstore

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
	"github.com/nats-io/nats.go"
)

// The tests' own domain: a door that is opened and closed. Capitals, for the tests outside of the package.

type DoorEvent interface {
	es.Event
	doorEvent()
}

type Opened struct {
	By string `json:"by"`
}

type Closed struct{}

func (Opened) EventType() string { return "Opened" }
func (Opened) doorEvent()        {}
func (Closed) EventType() string { return "Closed" }
func (Closed) doorEvent()        {}

type OpenDoor struct{}

func (OpenDoor) CommandType() string { return "OpenDoor" }

type Door struct{}

func (d Door) Decide(OpenDoor, es.Meta) ([]DoorEvent, error) { return nil, nil }
func (d Door) Evolve(DoorEvent) Door                         { return d }

var Front = es.Stream{Category: "door", ID: "front"}

func Codec(t testing.TB) *schema.Registry {
	t.Helper()
	codec, err := schema.New(es.Domain{
		Name:       "doors",
		Events:     []es.EventDef{es.EventOf[Opened](1), es.EventOf[Closed](1)},
		Aggregates: []es.Aggregate{es.Define[Door]("door", OpenDoor{})},
	})
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

// CommitOf makes a commit that begins with a version and expects a revision.
func CommitOf(s es.Stream, version uint64, expected es.Revision, events ...es.Event) es.Commit {
	c := es.Commit{Stream: s, Expected: expected}
	command := fmt.Sprintf("c-%d", version)
	for i, e := range events {
		c.Events = append(c.Events, es.Recorded{
			Event: e, ID: fmt.Sprintf("%s/%d", command, i+1), Version: version + uint64(i),
			Meta: es.Meta{Stream: s, CommandID: command, User: "ada", Correlation: "r", Causation: "x/1", Traceparent: "00-a-b-01", RequestHash: "abc",
				Time: time.Date(2026, 1, 31, 12, 0, int(version), 1, time.UTC)},
		})
	}
	return c
}

// serve starts a server without the streams.
func serve(t testing.TB) *nats.Conn {
	t.Helper()
	s, err := StartServer(ServerConfig{Conf: millstream.NATSConf, DataDir: t.TempDir(), Fast: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
