package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// CallQueue is the queue group of the services: adding processes scales them.
const CallQueue = "millstream"

const (
	callTimeout = 10 * time.Second // longer than a leader election's usual half
	callLimit   = 2048             // calls in work at once; more wait in the connection
)

// caller answers call.<category>.<id>.<Command> as a NATS service, one endpoint a command, and call.help.
type caller struct {
	engine    *Engine
	service   *discovery
	endpoints map[[2]string]*micro.EndpointStats // by category and command
	help      *micro.EndpointStats

	calls   *nats.Subscription
	drained chan struct{} // the subscription is
	work    sync.WaitGroup
	workers chan struct{} // as many as there are
	next    chan *nats.Msg
	closing chan struct{}
}

func startCaller(e *Engine, conn *nats.Conn, version string) (*caller, error) {
	c := &caller{
		engine:    e,
		service:   newDiscovery(e.cfg.Domain.Name, version, "commands: call.<category>.<id>.<Command>; call.help lists them", e.metrics.failure),
		endpoints: map[[2]string]*micro.EndpointStats{},
		drained:   make(chan struct{}), workers: make(chan struct{}, callLimit), next: make(chan *nats.Msg), closing: make(chan struct{}),
	}
	for _, a := range e.schemas.Aggregates() {
		for _, cmd := range e.schemas.Commands(a.Category()) {
			c.endpoints[[2]string{a.Category(), cmd.Type}] = c.service.add(micro.EndpointInfo{
				Name: a.Category() + "-" + cmd.Type, Subject: "call." + a.Category() + ".*." + cmd.Type, QueueGroup: CallQueue,
				Metadata: map[string]string{"schema": string(cmd.Schema), "example": string(cmd.Example)},
			})
		}
	}
	c.help = c.service.add(micro.EndpointInfo{Name: "help", Subject: "call.help", QueueGroup: CallQueue})
	// One subscription hears all, also what is misspelt, so that a slip of the pen is not met with silence.
	var err error
	if c.calls, err = conn.QueueSubscribe("call.>", CallQueue, c.hear); err != nil {
		return nil, err
	}
	c.calls.SetClosedHandler(func(string) { close(c.drained) })
	return c, c.service.listen(conn)
}

// hear gives a call to an idle worker, or to a new one. Goroutines that are used again keep their stacks; a new one's
// grows several times on its way through a command.
func (c *caller) hear(m *nats.Msg) {
	select {
	case c.next <- m:
		return
	default:
	}
	select {
	case c.next <- m:
	case c.workers <- struct{}{}:
		c.work.Go(func() { c.worker(m) })
	}
}

func (c *caller) worker(m *nats.Msg) {
	defer func() { <-c.workers }()
	for {
		c.call(m)
		select {
		case m = <-c.next:
		case <-c.closing:
			return
		}
	}
}

// call answers one call, whatever it asks for.
func (c *caller) call(m *nats.Msg) {
	began := time.Now()
	tokens := strings.Split(m.Subject, ".")
	if n := len(tokens); (n == 2 || n == 3) && tokens[n-1] == "help" {
		c.service.count(c.help, time.Since(began), c.helpOut(m, tokens))
		return
	}
	reply, queued := c.execute(m)
	if queued != nil {
		c.respond(m, queued, nil)
	} else {
		c.respond(m, reply, reply.Error)
	}
	if len(tokens) != 4 {
		return
	}
	if endpoint := c.endpoints[[2]string{tokens[1], tokens[3]}]; endpoint != nil {
		refused := ""
		if reply.Error != nil {
			refused = strconv.Itoa(reply.Error.Status) + ":" + reply.Error.Message
		}
		c.service.count(endpoint, time.Since(began), refused)
	}
}

// execute returns a command's reply or, where its sender would rather not wait, that it is in the queue. What is wrong with
// the command itself is said in either case.
func (c *caller) execute(m *nats.Msg) (es.Reply, *Queued) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	request, err := requestOf(m.Subject, m.Header, m.Data)
	if err == nil {
		request.Meta.User, err = c.engine.senderOf(m)
	}
	if err == nil {
		err = c.engine.authorize(&request)
	}
	if err != nil {
		return invalidReply(request, err), nil
	}
	if !strings.EqualFold(strings.TrimSpace(m.Header.Get(HeaderPrefer)), "respond-async") {
		return c.engine.Execute(ctx, request), nil
	}
	command, err := c.engine.schemas.Command(request.Meta.Stream.Category, request.Type)
	if err == nil {
		_, _, err = command.DecodeHashed(request.Data)
	}
	if err == nil {
		request.Meta.CommandID, err = c.engine.Enqueue(ctx, request)
	}
	if err != nil {
		return invalidReply(request, err), nil
	}
	queued := NewQueued(request.Meta.Stream, request.Meta.CommandID)
	return es.Reply{}, &queued
}

func (c *caller) respond(m *nats.Msg, body any, problem *es.Problem) {
	if m.Reply == "" {
		return // nobody waits
	}
	answer := nats.Msg{}
	var err error
	if answer.Data, err = json.Marshal(body); err != nil {
		c.engine.metrics.failure(err)
		return
	}
	if problem != nil {
		answer.Header = nats.Header{micro.ErrorHeader: {problem.Message}, micro.ErrorCodeHeader: {strconv.Itoa(problem.Status)}}
	}
	if err := m.RespondMsg(&answer); err != nil {
		c.engine.metrics.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
	}
}

func invalidReply(r es.Request, err error) es.Reply {
	if r.Meta.CommandID == "" {
		r.Meta.CommandID = newID()
	}
	reply := es.Reply{CommandID: r.Meta.CommandID, Outcome: outcome(err), Error: Problem(err)}
	if r.Meta.Stream.Category != "" {
		reply.Stream = r.Meta.Stream.String()
	}
	return reply
}

// helpOut lists every command, or one category's, with an example to paste.
func (c *caller) helpOut(m *nats.Msg, tokens []string) (refused string) {
	categories := c.engine.schemas.Aggregates()
	if len(tokens) == 3 {
		a, err := c.engine.schemas.Aggregate(tokens[1])
		if err != nil {
			reply := invalidReply(es.Request{}, err)
			c.respond(m, reply, reply.Error)
			return err.Error()
		}
		categories = []es.Aggregate{a}
	}
	var b strings.Builder
	b.WriteString("# Commands. Each line can be pasted into a shell; the reply is JSON.\n")
	for _, a := range categories {
		fmt.Fprintf(&b, "\n# %s\n", a.Category())
		for _, cmd := range c.engine.schemas.Commands(a.Category()) {
			b.WriteString(exampleCall(a, cmd))
		}
	}
	b.WriteString("\n# Headers: Nats-Msg-Id (the command's id; the same id takes effect once), Correlation-Id, Causation-Id, User-Id,\n" +
		"# Millstream-Expected-Version (refuse if the stream is at another version), traceparent.\n" +
		"# To queue instead of waiting for the answer: Prefer:respond-async, or nats pub -J commands.<category>.<id>.<Command> '{…}'\n")
	if err := m.Respond([]byte(b.String())); err != nil && m.Reply != "" {
		c.engine.metrics.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
	}
	return ""
}

func exampleCall(a es.Aggregate, cmd *schema.Command) string {
	body := strings.ReplaceAll(string(cmd.Example), "'", `'\''`)
	return fmt.Sprintf("nats req call.%s.%s.%s '%s'\n", a.Category(), a.ExampleID(), cmd.Type, body)
}

// close stops hearing calls, then waits for those in work.
func (c *caller) close(ctx context.Context) error {
	return errors.Join(c.calls.Drain(), c.service.close(), answered(ctx, func() {
		<-c.drained
		close(c.closing)
		c.work.Wait()
	}))
}

// answered waits for what is in work; ctx bounds it.
func answered(ctx context.Context, wait func()) error {
	done := make(chan struct{})
	go func() { wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("calls are still in work: %w", ctx.Err())
	}
}
