package ops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

// Health is what an examination makes of one thing.
type Health string

// What a Finding says.
const (
	Healthy Health = "ok"
	Ailing  Health = "warn" // it works; look at it before it does not
	Sick    Health = "fail"
)

// Finding is one thing that was examined.
type Finding struct {
	Check  string `json:"check"`
	Health Health `json:"health"`
	Found  string `json:"found"`
	Mend   string `json:"mend,omitempty"` // what to do, unless it is ok
}

// Bounds from which something is told. Timers and tokens live by the clock; one second is what machines that keep time
// stay below.
const (
	clockAiling, clockSick = time.Second, 30 * time.Second
	fullAiling             = 0.8 // part of what the account may store
	wantedPayload          = 4 << 20
	stillFor               = 500 * time.Millisecond // how long a queue is watched before it is called stuck
)

// ExamineServer looks at a system through a connection, as the user of the account that owns the streams. It changes
// nothing.
func ExamineServer(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, domain es.Domain) []Finding {
	all := []Finding{examineVersion(nc), examinePayload(nc)}
	account, ok := examineAccount(ctx, js)
	all = append(all, account)
	if !ok {
		return all // every question below would fail for the same reason
	}
	asked := time.Now()
	looks := natsstore.Inspect(ctx, js)
	all = append(all, examineClock(asked, looks))
	there := map[string]bool{}
	for _, look := range looks {
		there[look.Name] = look.Info != nil
		all = append(all, examineStream(look))
	}
	for _, q := range queues(domain) {
		if there[q.stream] {
			all = append(all, q.examine(ctx, js))
		}
	}
	all = append(all, examineProjectors(ctx, nc))
	for _, look := range looks {
		if look.Name == natsstore.DeadLettersStream && look.Info != nil {
			all = append(all, examineLetters(look.Info.State.Msgs))
		}
	}
	return all
}

func examineVersion(nc *nats.Conn) Finding {
	f := Finding{Check: "server", Health: Healthy, Found: fmt.Sprintf("%s, version %s", natsstore.ConnectedTo(nc), nc.ConnectedServerVersion())}
	if err := natsstore.CheckServer(nc.ConnectedServerVersion()); err != nil {
		f.Health, f.Found, f.Mend = Sick, err.Error(), "upgrade the NATS servers, one after the other"
	}
	return f
}

func examinePayload(nc *nats.Conn) Finding {
	f := Finding{Check: "max_payload", Health: Healthy, Found: fmt.Sprintf("%d bytes", nc.MaxPayload())}
	if nc.MaxPayload() < wantedPayload {
		f.Health, f.Mend = Ailing, "large commands are cut off without an answer: set max_payload: 4MB, as in nats.conf"
	}
	return f
}

func examineAccount(ctx context.Context, js jetstream.JetStream) (f Finding, ok bool) {
	f = Finding{Check: "account", Health: Healthy}
	info, err := js.AccountInfo(ctx)
	if err != nil {
		f.Health, f.Found, f.Mend = Sick, err.Error(), "connect as a user of the account that owns the streams (user engine in nats.conf), and switch JetStream on for it"
		return f, false
	}
	f.Found = fmt.Sprintf("%d streams, %d consumers, %d bytes stored", info.Streams, info.Consumers, info.Store)
	if most := info.Limits.MaxStore; most > 0 {
		f.Found += fmt.Sprintf(" of %d", most)
		if float64(info.Store) > fullAiling*float64(most) {
			f.Health, f.Mend = Ailing, "commands fail once it is full: raise the account's max_file, or the server's max_file_store"
		}
	}
	return f, true
}

// examineClock compares the server's time of each answer with ours: it must lie between question and answer.
func examineClock(asked time.Time, looks []natsstore.StreamLook) Finding {
	f := Finding{Check: "clock", Health: Healthy, Found: "as the server's"}
	for _, look := range looks {
		if look.Info == nil || look.Info.TimeStamp.IsZero() {
			continue
		}
		off := asked.Sub(look.Info.TimeStamp) // above zero: ours is ahead
		if now := time.Now(); off < 0 {
			off = min(0, now.Sub(look.Info.TimeStamp))
		}
		if off.Abs() >= clockAiling {
			f.Health, f.Found, f.Mend = Ailing, fmt.Sprintf("%s from the server's", off.Round(time.Millisecond)), "keep both machines' clocks by NTP: timers and tokens go by them"
		}
		if off.Abs() >= clockSick {
			f.Health = Sick
		}
		return f
	}
	f.Found = "there is no stream yet to compare it by"
	return f
}

func examineStream(look natsstore.StreamLook) Finding {
	f := Finding{Check: "stream " + look.Name, Health: Healthy}
	switch {
	case errors.Is(look.Err, jetstream.ErrStreamNotFound):
		f.Health, f.Found, f.Mend = Ailing, "not there", "start a node: it makes what is missing"
		return f
	case look.Err != nil:
		f.Health, f.Found, f.Mend = Sick, strings.ReplaceAll(look.Err.Error(), "\n", "; "), "as it says; no node starts before"
		if look.Info == nil {
			f.Mend = "look at the servers: nats server report jetstream"
		}
		return f
	}
	f.Found = fmt.Sprintf("%d messages, %d bytes, replicas %d", look.Info.State.Msgs, look.Info.State.Bytes, look.Info.Config.Replicas)
	if c := look.Info.Cluster; c != nil && look.Info.Config.Replicas > 1 {
		var behind []string
		for _, r := range c.Replicas {
			if r.Offline || !r.Current {
				behind = append(behind, r.Name)
			}
		}
		if c.Leader == "" {
			f.Health, f.Mend = Sick, "it has no leader: start the servers that are down"
			return f
		}
		if len(behind) > 0 {
			f.Health, f.Mend = Ailing, "start or look after "+strings.Join(behind, ", ")+", which does not keep up"
		}
	}
	return f
}

// queue is a consumer that nodes share.
type queue struct{ stream, name string }

func queues(d es.Domain) []queue {
	var all []queue
	for _, name := range runtime.Consumers(d) {
		all = append(all, queue{natsstore.EventsStream, name})
	}
	all[0].stream = natsstore.CommandsStream
	for _, s := range d.Sagas {
		for i := range all {
			if all[i].name == "saga-"+s.Name()+"-due" {
				all[i].stream = natsstore.TimersStream
			}
		}
	}
	return all
}

func (q queue) examine(ctx context.Context, js jetstream.JetStream) Finding {
	f := Finding{Check: "worker " + q.name, Health: Healthy}
	consumer, err := js.Consumer(ctx, q.stream, q.name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		f.Health, f.Found, f.Mend = Ailing, "no node has ever worked on it", "start one with its role (serve --roles)"
		return f
	}
	if err != nil {
		f.Health, f.Found, f.Mend = Sick, err.Error(), "look at the servers: nats server report jetstream"
		return f
	}
	before := consumer.CachedInfo()
	f.Found = fmt.Sprintf("%d waiting, %d in work", before.NumPending, before.NumAckPending)
	if before.NumPending == 0 && before.NumAckPending == 0 {
		return f
	}
	select { // something waits: does it move?
	case <-time.After(stillFor):
	case <-ctx.Done():
		return f
	}
	now, err := consumer.Info(ctx)
	if err != nil {
		f.Health, f.Found, f.Mend = Sick, err.Error(), "look at the servers: nats server report jetstream"
		return f
	}
	if now.Delivered.Consumer == before.Delivered.Consumer && now.AckFloor.Stream == before.AckFloor.Stream && now.NumPending > 0 {
		f.Health, f.Mend = Ailing, "it does not move: is a node with its role running? Its log says what it tries again"
		if now.NumWaiting == 0 && now.NumAckPending == 0 {
			f.Health, f.Mend = Sick, "nobody works on it: start a node with its role (serve --roles)"
		}
	}
	return f
}

func examineProjectors(ctx context.Context, nc *nats.Conn) Finding {
	f := Finding{Check: "projectors", Health: Healthy}
	found, err := runtime.Projections(ctx, nc, "")
	if err != nil {
		f.Health, f.Found, f.Mend = Ailing, err.Error(), "start a node: nobody answers queries"
		return f
	}
	var halted, paused []string
	for _, p := range found {
		switch {
		case p.State == runtime.Halted:
			halted = append(halted, p.Name+" on "+p.Node)
		case p.Paused != nil:
			paused = append(paused, p.Name+" on "+p.Node)
		}
	}
	f.Found = fmt.Sprintf("%d run", len(found)-len(halted)-len(paused))
	if len(paused) > 0 {
		f.Health, f.Mend = Ailing, "projections resume NAME"
		f.Found += "; paused: " + strings.Join(paused, ", ")
	}
	if len(halted) > 0 {
		f.Health, f.Mend = Sick, "projections show NAME says why; mend its code, or projections resume NAME --skip"
		f.Found += "; halted: " + strings.Join(halted, ", ")
	}
	return f
}

func examineLetters(open uint64) Finding {
	f := Finding{Check: "dead letters", Health: Healthy, Found: fmt.Sprintf("%d open", open)}
	if open > 0 {
		f.Health, f.Mend = Ailing, "deadletters list, then retry, resend or drop them"
	}
	return f
}
