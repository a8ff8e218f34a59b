// Package runtime runs a domain on JetStream: the command intake, sagas, gateways and projectors as Watermill
// handlers, and the calls that doors make (Execute, Enqueue, Ask, StateAt).
package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// Role is one of the works that a process may take on.
type Role string

// The roles. A process without RoleCommands still executes what its own doors and sagas ask for: the guard on the
// log is the only fence.
const (
	RoleCommands   Role = "commands"   // answers call.> and works off COMMANDS
	RoleProjectors Role = "projectors" // keeps this node's read models
	RoleSagas      Role = "sagas"
	RoleGateways   Role = "gateways"
	RoleAPI        Role = "api" // HTTP, in package api
)

// AllRoles is the default.
var AllRoles = []Role{RoleCommands, RoleProjectors, RoleSagas, RoleGateways, RoleAPI}

// Config is what Start needs. Domain, Connect and DataDir must be set.
type Config struct {
	Domain     es.Domain
	Connect    func(...nats.Option) (*nats.Conn, error) // opens a connection of its own each time, as a user of the engine's account
	DataDir    string                                   // read models and the node's id
	Roles      []Role                                   // default AllRoles
	Replicas   int                                      // of streams created; default 1
	Durability es.Durability                            // what the connected server's acknowledgement means; default Fast
	Syncer     *natsstore.Syncer                        // of the embedded server with its one replica: makes replies durable; nil: Durability is taken at its word
	// SnapshotEvery is after how many of an aggregate's events its state is stored beside the log; default 100,
	// negative: never.
	SnapshotEvery int

	// Authorize says whether a user of the NATS servers may do an operation on a target: "command.send" or
	// "command.internal" of a category, "query.ask" of a query. Error: an *es.InvalidError denied. Nil: everyone may
	// do everything. HTTP doors ask by themselves.
	Authorize func(user, operation, target string) error

	Dev     bool                                // a client's User-Id is believed
	Delays  map[string]time.Duration            // "<saga>.<timer>" → instead of the saga's own delay
	Park    []string                            // consumers whose later messages of a key wait behind one put aside; see Consumers
	Health  func() error                        // of the embedded server; nil: none is embedded
	Forget  func(stream, consumer string) error // removes what the embedded server cannot load of a consumer; nil: none is embedded
	Sync    func() error                        // brings what the embedded server has stored to disk; nil: none is embedded
	Logger  *slog.Logger                        // default slog.Default()
	Metrics *prometheus.Registry                // default a new one, with the process's own figures
	Tracer  trace.Tracer                        // makes a span of each command and of what follows it; nil: nobody does

	PinTTL  time.Duration // after which a silent owner of a queue is replaced; default 5 s
	AckWait time.Duration // after which an unacknowledged input is delivered again; default 60 s
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Roles) == 0 {
		c.Roles = AllRoles
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	switch {
	case c.Syncer != nil:
		c.Durability = es.Durable
	case c.Durability == "":
		c.Durability = es.Fast
	}
	if c.SnapshotEvery == 0 {
		c.SnapshotEvery = 100
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
		c.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if c.PinTTL == 0 {
		c.PinTTL = 5 * time.Second
	}
	if c.AckWait == 0 {
		c.AckWait = time.Minute
	}
	var errs []error
	if c.Domain.Name == "" {
		errs = append(errs, errors.New("the domain has no name"))
	}
	if c.Connect == nil {
		errs = append(errs, errors.New("there is no Connect"))
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("there is no DataDir"))
	}
	for _, r := range c.Roles {
		if !slices.Contains(AllRoles, r) {
			errs = append(errs, fmt.Errorf("unknown role %q: known are %v", r, AllRoles))
		}
	}
	for name := range c.Delays {
		saga, _, _ := strings.Cut(name, ".")
		if !slices.ContainsFunc(c.Domain.Sagas, func(s es.Saga) bool { return s.Name() == saga }) {
			errs = append(errs, fmt.Errorf("delay %q: there is no saga %q", name, saga))
		}
	}
	consumers := Consumers(c.Domain)
	for _, name := range c.Park {
		if !slices.Contains(consumers, name) {
			errs = append(errs, fmt.Errorf("park %q: there is no such consumer: known are %s", name, strings.Join(consumers, ", ")))
		}
	}
	return c, errors.Join(errs...)
}

// Consumers are the names of a domain's queues, which its dead letters bear.
func Consumers(d es.Domain) []string {
	names := []string{"commands"}
	for _, s := range d.Sagas {
		names = append(names, "saga-"+s.Name(), "saga-"+s.Name()+"-due")
	}
	for _, g := range d.Gateways {
		names = append(names, "gateway-"+g.Name)
	}
	return names
}

func (c Config) has(r Role) bool { return slices.Contains(c.Roles, r) }

// Check is one line of the readiness report.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// StateAt is an aggregate as it was, folded from the log.
type StateAt struct {
	Stream   string      `json:"stream"`
	Version  uint64      `json:"version"`
	Revision es.Revision `json:"revision"`
	Time     time.Time   `json:"time"` // of its last event
	State    any         `json:"state"`
}

// nodeID reads or makes the id of this data directory, which names the node's own consumers.
func nodeID(dir string) (string, error) {
	file := filepath.Join(dir, "node")
	if data, err := os.ReadFile(file); err == nil && es.ValidID(string(data)) {
		return string(data), nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	id := newID() // its beginning is the time: two processes started together would share it
	id = "n" + id[len(id)-12:]
	return id, os.WriteFile(file, []byte(id), 0o640)
}

func detached(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}
