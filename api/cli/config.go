package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// Config is every verb and every setting. A flag wins over the environment (MILLSTREAM_DATA for --data), which wins
// over the configuration file, which wins over the default.
type Config struct {
	File      string `name:"config" type:"path" placeholder:"FILE" help:"Read settings from a YAML or JSON file; its keys are the names of flags."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"Log from this level on: ${enum}."`
	LogFormat string `enum:"auto,text,json" default:"auto" help:"How to log: ${enum}; auto is text on a terminal and JSON elsewhere. NO_COLOR is heeded."`

	Dev         devCmd                    `cmd:"" default:"withargs" help:"Run everything in one process with a NATS server inside (the default)."`
	Serve       serveCmd                  `cmd:"" help:"Run against NATS servers that are already there, as one of any number of processes."`
	New         newCmd                    `cmd:"" help:"Write a Go module of your own on the engine, with tests that pass."`
	Import      importCmd                 `cmd:"" help:"Send commands in bulk from a file of JSON lines."`
	Send        sendCmd                   `cmd:"" aliases:"call" help:"Send one command and print its reply."`
	Projections projectionsCmd            `cmd:"" help:"Work on read models."`
	Deadletters deadLettersCmd            `cmd:"" help:"Look at messages that were put aside, and retry, correct or drop them."`
	Keys        keysCmd                   `cmd:"" help:"Make, list and revoke the API keys by which callers are known to serve."`
	Sagas       sagasCmd                  `cmd:"" help:"Look at processes under way, and retry or give them up."`
	Snapshots   snapshotsCmd              `cmd:"" help:"Look at stored states of aggregates, and drop them."`
	Why         whyCmd                    `cmd:"" help:"Say why an aggregate is as it is, what is waited for, and what it would take now."`
	Audit       auditCmd                  `cmd:"" help:"Print what operators did: who, when, what, why."`
	Query       queryCmd                  `cmd:"" help:"Ask a read model in SQL, as it is or as it was."`
	Project     projectCmd                `cmd:"" help:"Make a SQLite file of the log by a projector written in SQL."`
	Tail        tailCmd                   `cmd:"" help:"Print events as they happen."`
	History     historyCmd                `cmd:"" help:"Print what happened to one aggregate: who, when, what, caused by."`
	Trace       traceCmd                  `cmd:"" help:"Print one story as a tree: commands, events and saga transitions."`
	Export      exportCmd                 `cmd:"" help:"Write the log, or a part of it, to a file with a proof that nothing is missing."`
	Schema      schemaCmd                 `cmd:"" help:"Look at events and commands, and compare them with the running system's."`
	OpenAPI     openapiCmd                `cmd:"" name:"openapi" help:"Print the HTTP door as an OpenAPI 3.1 document."`
	AsyncAPI    asyncapiCmd               `cmd:"" name:"asyncapi" help:"Print the NATS door as an AsyncAPI 3 document."`
	Fsck        fsckCmd                   `cmd:"" help:"Read every message and hold it against what must be true, read models included."`
	Doctor      doctorCmd                 `cmd:"" help:"Check configuration, data directory, connection, streams, workers and clock, and say how to mend what is wrong."`
	Config      configCmd                 `cmd:"" help:"Check the settings of a verb, or print them with where each is from."`
	Bench       benchCmd                  `cmd:"" help:"Measure the engine beside the same work done raw, on servers of its own."`
	Version     versionCmd                `cmd:"" help:"Print the version."`
	Completion  kongcompletion.Completion `cmd:"" help:"Print how to switch on completion in a shell."`
}

// nodeFlags are the settings of a process that runs the engine.
type nodeFlags struct {
	Data       string                   `type:"path" default:"./data" placeholder:"DIR" help:"Where data is kept; one process at a time."`
	HTTP       string                   `name:"http" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where HTTP listens; port 0 picks one."`
	Origins    []string                 `name:"allow-origin" placeholder:"ORIGIN,…" help:"Origins of browser pages from elsewhere, as https://shop.example, that may use the HTTP door."`
	Proxies    []netip.Prefix           `name:"trusted-proxy" placeholder:"CIDR,…" help:"Networks of proxies in front, such as 10.1.0.0/16: from these alone X-Forwarded-For and X-Forwarded-Proto are believed. Default: none."`
	Wake       map[string]time.Duration `placeholder:"SAGA.TIMER=TIME" help:"Another time-out for a saga's timer, such as fulfilment.payment=2s; may be repeated."`
	Park       []string                 `predictor:"consumer" placeholder:"CONSUMER,…" help:"Consumers, such as commands, whose later messages for an aggregate wait behind one that was put aside, until that is retried, resent or dropped. The same on every process."`
	JSON       bool                     `name:"json" help:"Print one line of JSON when ready, instead of text."`
	DrainDelay time.Duration            `default:"0s" help:"How long /readyz says no before HTTP stops, for a load balancer to look elsewhere."`
	Gateways   kong.Plugins             `embed:""`
	adminFlags
	tracingFlags
}

// gatewayFlags are the gateways' own settings.
func gatewayFlags(gateways []es.Gateway) kong.Plugins {
	var all kong.Plugins
	for _, g := range gateways {
		if g.Settings != nil {
			all = append(all, g.Settings)
		}
	}
	return all
}

// check reports every fault of the chosen verb's settings at once.
func (c *Config) check(verb string, domain es.Domain) error {
	switch verb {
	case "dev":
		return errors.Join(c.Dev.nodeFlags.check(domain), loopback("http", c.Dev.HTTP), loopback("nats", c.Dev.NATS))
	case "serve":
		return errors.Join(c.Serve.nodeFlags.check(domain), hostPort("http", c.Serve.HTTP), c.Serve.clientFlags.check(), c.Serve.authFlags.check())
	case "import <file>":
		return c.Import.clientFlags.check()
	default:
		return nil
	}
}

func (n nodeFlags) check(domain es.Domain) error {
	errs := []error{n.adminFlags.check(), n.tracingFlags.check()}
	for _, g := range domain.Gateways {
		if settings, ok := g.Settings.(interface{ Validate() error }); ok {
			errs = append(errs, settings.Validate())
		}
	}
	for name, after := range n.Wake {
		saga, timer, _ := strings.Cut(name, ".")
		if !hasSaga(domain, saga) || timer == "" {
			errs = append(errs, fmt.Errorf("--wake %s: expected SAGA.TIMER, with one of the sagas %s", name, sagaNames(domain)))
		}
		if after <= 0 {
			errs = append(errs, fmt.Errorf("--wake %s: the time must be above zero, not %s", name, after))
		}
	}
	for _, name := range n.Park {
		if known := runtime.Consumers(domain); !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("--park %s: expected one of the consumers %s", name, strings.Join(known, ", ")))
		}
	}
	return errors.Join(errs...)
}

func hasSaga(domain es.Domain, name string) bool {
	for _, s := range domain.Sagas {
		if s.Name() == name {
			return true
		}
	}
	return false
}

func sagaNames(domain es.Domain) string {
	var names []string
	for _, s := range domain.Sagas {
		names = append(names, s.Name())
	}
	return strings.Join(names, ", ")
}

// loopback refuses what other machines could reach, where nobody is asked who they are.
func loopback(flag, address string) error {
	if err := hostPort(flag, address); err != nil || isLoopback(address) {
		return err
	}
	return fmt.Errorf("--%s %s is reachable from other machines, and dev asks nobody who they are: listen on 127.0.0.1, or use serve", flag, address)
}

func hostPort(flag, text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("--%s %s: expected HOST:PORT, like 127.0.0.1:8080", flag, text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("--%s %s: %q is no port number", flag, text, port)
	}
	return nil
}
