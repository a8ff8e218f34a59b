package runtime

import (
	"context"
	"encoding/json"
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

const (
	callQueue   = "millstream"     // queue group of the service: adding processes scales it
	callTimeout = 10 * time.Second // longer than a leader election's usual half
	callLimit   = 2048             // calls in work at once; more wait in the connection
)

// caller answers call.<category>.<id>.<Command> as a NATS service, one endpoint a command, and call.help.
type caller struct {
	engine  *Engine
	conn    *nats.Conn
	service micro.Service
	unknown *nats.Subscription
	work    sync.WaitGroup
	slots   chan struct{}
}

func startCaller(e *Engine, conn *nats.Conn, version string) (*caller, error) {
	c := &caller{engine: e, conn: conn, slots: make(chan struct{}, callLimit)}
	service, err := micro.AddService(conn, micro.Config{
		Name: e.cfg.Domain.Name, Version: version, QueueGroup: callQueue,
		Description: "commands: call.<category>.<id>.<Command>; call.help lists them",
	})
	if err != nil {
		return nil, err
	}
	c.service = service
	for _, a := range e.schemas.Aggregates() {
		for _, cmd := range e.schemas.Commands(a.Category()) {
			err := service.AddEndpoint(a.Category()+"-"+cmd.Type, micro.HandlerFunc(c.call),
				micro.WithEndpointSubject("call."+a.Category()+".*."+cmd.Type),
				micro.WithEndpointMetadata(map[string]string{"schema": string(cmd.Schema), "example": string(cmd.Example)}))
			if err != nil {
				return nil, fmt.Errorf("endpoint %s: %w", cmd.Type, err)
			}
		}
	}
	for name, subject := range map[string]string{"help": "call.help", "category-help": "call.*.help"} {
		if err := service.AddEndpoint(name, micro.HandlerFunc(c.help), micro.WithEndpointSubject(subject)); err != nil {
			return nil, err
		}
	}
	// What no endpoint answers is answered here, so that a slip of the pen is not met with silence.
	c.unknown, err = conn.QueueSubscribe("call.>", callQueue+"-unknown", c.stray)
	return c, err
}

func (c *caller) call(r micro.Request) {
	c.slots <- struct{}{}
	c.work.Go(func() {
		defer func() { <-c.slots }()
		c.respond(r, c.execute(r.Subject(), nats.Header(r.Headers()), r.Data()))
	})
}

func (c *caller) execute(subject string, header nats.Header, data []byte) es.Reply {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	request, err := c.engine.requestOf(subject, header, data)
	if err != nil {
		return invalidReply(request, err)
	}
	return c.engine.Execute(ctx, request)
}

func (c *caller) respond(r micro.Request, reply es.Reply) {
	body, err := json.Marshal(reply)
	if err != nil {
		c.engine.metrics.failure(err)
		return
	}
	if reply.Error == nil {
		err = r.Respond(body)
	} else {
		err = r.Error(strconv.Itoa(reply.Error.Status), reply.Error.Message, body)
	}
	if err != nil {
		c.engine.metrics.failure(fmt.Errorf("answer %s: %w", r.Subject(), err))
	}
}

// stray answers what is spelt so that no endpoint hears it.
func (c *caller) stray(m *nats.Msg) {
	tokens := strings.Split(m.Subject, ".")
	if len(tokens) == 2 && tokens[1] == "help" || len(tokens) == 3 && tokens[2] == "help" {
		return
	}
	request, err := c.engine.requestOf(m.Subject, m.Header, m.Data)
	if err == nil {
		if _, err = c.engine.schemas.Command(request.Meta.Stream.Category, request.Type); err == nil {
			return // an endpoint's own
		}
	}
	if m.Reply == "" {
		return
	}
	reply := invalidReply(request, err)
	body, err := json.Marshal(reply)
	if err != nil {
		c.engine.metrics.failure(err)
		return
	}
	answer := nats.NewMsg(m.Reply)
	answer.Data = body
	answer.Header.Set(micro.ErrorHeader, reply.Error.Message)
	answer.Header.Set(micro.ErrorCodeHeader, strconv.Itoa(reply.Error.Status))
	if err := c.conn.PublishMsg(answer); err != nil {
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

// help lists every command, or one category's, with an example to paste.
func (c *caller) help(r micro.Request) {
	categories := c.engine.schemas.Aggregates()
	if tokens := strings.Split(r.Subject(), "."); len(tokens) == 3 {
		a, err := c.engine.schemas.Aggregate(tokens[1])
		if err != nil {
			c.respond(r, invalidReply(es.Request{}, err))
			return
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
		"# To queue instead of waiting for the answer: nats pub -J commands.<category>.<id>.<Command> '{…}'\n")
	if err := r.Respond([]byte(b.String())); err != nil {
		c.engine.metrics.failure(fmt.Errorf("answer %s: %w", r.Subject(), err))
	}
}

func exampleCall(a es.Aggregate, cmd *schema.Command) string {
	body := strings.ReplaceAll(string(cmd.Example), "'", `'\''`)
	return fmt.Sprintf("nats req call.%s.%s.%s '%s'\n", a.Category(), a.ExampleID(), cmd.Type, body)
}

// close stops hearing calls, then waits for those in work.
func (c *caller) close(ctx context.Context) error {
	err := c.unknown.Drain()
	if e := c.service.Stop(); err == nil {
		err = e
	}
	done := make(chan struct{})
	go func() { c.work.Wait(); close(done) }()
	select {
	case <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("calls are still in work: %w", ctx.Err())
	}
}
