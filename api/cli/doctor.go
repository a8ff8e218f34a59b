package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es/ops"
)

type doctorCmd struct {
	Data    string        `type:"path" default:"./data" placeholder:"DIR" help:"The data directory to look at."`
	For     string        `enum:"dev,serve" default:"serve" placeholder:"VERB" help:"Whose settings to check: ${enum}."`
	Timeout time.Duration `default:"15s" help:"How long all questions to the servers may take."`
	JSON    bool          `name:"json" help:"Print JSON."`
	clientFlags
}

// Help is kong's text below the usage.
func (doctorCmd) Help() string {
	return `Nothing is changed. Each line is ok, warn or fail, and says what to do about it. Exit code 1: something fails.
Whether servers that are not embedded sync each write (sync_interval: always) cannot be asked; see nats.conf.

  millstream doctor --data /var/lib/millstream --server nats://n1:4222 --user engine`
}

// Run is called by kong.
func (c *doctorCmd) Run(ctx context.Context, a *app, outer *Config) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	found := []ops.Finding{c.settings(ctx, a, outer)}
	found = append(found, ops.ExamineMachine(c.Data)...)
	found = append(found, c.servers(ctx, a)...)
	if c.JSON {
		if err := a.printJSON(found); err != nil {
			return err
		}
	}
	code := exitOK
	for _, f := range found {
		if f.Health == ops.Sick {
			code = exitFailure
		}
		if c.JSON {
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "%-4s  %-26s  %s\n", f.Health, f.Check, f.Found); err != nil {
			return err
		}
		if f.Mend != "" {
			if _, err := fmt.Fprintf(a.stdout, "      %-26s  → %s\n", "", f.Mend); err != nil {
				return err
			}
		}
	}
	if code != exitOK {
		return silentError(code)
	}
	return nil
}

// settings are those of environment and file, as the verb, and doctor itself, would read them.
func (c *doctorCmd) settings(ctx context.Context, a *app, outer *Config) ops.Finding {
	var faults []string
	for _, verb := range []string{c.For, "doctor"} {
		if _, _, err := a.effective(ctx, outer, []string{verb}); err != nil {
			faults = append(faults, strings.Split(err.Error(), "\n")...)
		}
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		return ops.Finding{Check: "settings of " + c.For, Health: ops.Sick, Found: strings.Join(slices.Compact(faults), "; "), Mend: "config check " + c.For}
	}
	return ops.Finding{Check: "settings of " + c.For, Health: ops.Healthy, Found: "sound"}
}

func (c *doctorCmd) servers(ctx context.Context, a *app) []ops.Finding {
	broken := func(err error, mend string) []ops.Finding {
		return []ops.Finding{{Check: "connection", Health: ops.Sick, Found: err.Error(), Mend: mend}}
	}
	if err := c.check(); err != nil {
		return broken(err, "give other flags")
	}
	nc, err := c.connect(a.domain.Name+" doctor", nats.Timeout(c.Timeout))
	if err != nil {
		return broken(err, "start the server or a node, or say where it is with --server or --context")
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return broken(err, "look at --context")
	}
	took, err := nc.RTT()
	if err != nil {
		return broken(err, "look at the network")
	}
	found := []ops.Finding{{Check: "connection", Health: ops.Healthy, Found: "answers in " + took.Round(10*time.Microsecond).String()}}
	return append(found, ops.ExamineServer(ctx, nc, js, a.domain)...)
}
