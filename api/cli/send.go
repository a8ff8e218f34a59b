package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

type sendCmd struct {
	Stream  string `arg:"" predictor:"stream" help:"Whom to send it to, as category/id, like order/o-1."`
	Command string `arg:"" predictor:"command" help:"The command's name, like ShipOrder."`
	Data    string `arg:"" optional:"" default:"{}" help:"Its JSON body; @FILE reads a file, - standard input."`

	ID              string        `name:"id" help:"The command's id: sent again with the same one, it takes effect once."`
	ExpectedVersion *uint64       `help:"Reject as a conflict unless the stream is at this version."`
	Correlation     string        `help:"Correlation id; default: the command's."`
	AsUser          string        `placeholder:"NAME" help:"Who is acting; believed only by dev."`
	Queue           bool          `help:"Leave it in the durable queue instead of waiting for its outcome."`
	DryRun          bool          `help:"Only check the body against the command's schema, and print what would be sent."`
	JSON            bool          `name:"json" help:"The answer is JSON in any case."`
	Timeout         time.Duration `default:"15s" help:"How long to wait for an answer; the engine itself gives up after 10 s."`
	clientFlags
}

// queued is what --queue prints.
type queued struct {
	CommandID string `json:"commandId"`
	Stream    string `json:"stream"`
	Queued    uint64 `json:"queued"` // position in the queue
}

// wouldSend is what --dry-run prints.
type wouldSend struct {
	CommandID string          `json:"commandId"`
	Stream    string          `json:"stream"`
	Command   string          `json:"command"`
	Data      json.RawMessage `json:"data"`
	DryRun    bool            `json:"dryRun"`
}

// Help is kong's text below the usage.
func (sendCmd) Help() string {
	return `The reply is one line of JSON; the exit code says what came of it, 5 for a rejection. With --dry-run nothing is sent.

  millstream send stock/p-1 ReceiveStock '{"quantity":100}'
  millstream send order/o-1 CreateOrder @order.json --dry-run`
}

// Run is called by kong.
func (s *sendCmd) Run(ctx context.Context, a *app) error {
	if err := s.check(); err != nil {
		return usageError{err}
	}
	stream, err := es.ParseStream(s.Stream)
	if err != nil {
		return err
	}
	data, err := a.body(s.Data)
	if err != nil {
		return err
	}
	request := es.Request{Type: s.Command, Data: json.RawMessage(data), Expected: s.ExpectedVersion}
	request.Meta = es.Meta{Stream: stream, CommandID: s.ID, Correlation: s.Correlation, User: s.AsUser}
	if s.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		request.Meta.CommandID = "send-" + id.String() // printed also when no answer comes, to send it again
	}
	if s.DryRun {
		return a.printDry(request)
	}
	ctx, handler, cancel := allowed(ctx)
	defer cancel()
	nc, err := s.connect(a.domain.Name+" send", handler)
	if err != nil {
		return err
	}
	defer nc.Close()
	if s.Queue {
		ctx, cancel := context.WithTimeout(ctx, s.Timeout)
		defer cancel()
		seq, err := ops.Enqueue(ctx, nc, request)
		if err != nil {
			return fmt.Errorf("command %s: %w", request.Meta.CommandID, err)
		}
		return a.printJSON(queued{CommandID: request.Meta.CommandID, Stream: stream.String(), Queued: seq})
	}
	reply := ops.Call(nc, s.Timeout)(ctx, request)
	if err := refused(ctx, reply); err != nil {
		return codedError{exitNotAllowed, err}
	}
	if err := a.printJSON(reply); err != nil {
		return err
	}
	if code := replyCode(reply); code != exitOK {
		return silentError(code)
	}
	return nil
}

// body is a command's body: the text itself, of a file, or of standard input.
func (a *app) body(text string) ([]byte, error) {
	if text == "-" {
		return io.ReadAll(a.stdin)
	}
	if file, named := strings.CutPrefix(text, "@"); named {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError{err}
		}
		return data, nil
	}
	return []byte(text), nil
}

// decode checks what can be checked of a command without its aggregate's state.
func decode(schemas *schema.Registry, r es.Request) (es.Command, error) {
	command, err := schemas.Command(r.Meta.Stream.Category, r.Type)
	if err != nil {
		return nil, err
	}
	return command.Decode(r.Data)
}

// checked stands in for a door in a dry run: it accepts what a door would look at.
func (a *app) checked() (func(context.Context, es.Request) es.Reply, error) {
	schemas, err := schema.New(a.domain)
	return func(_ context.Context, r es.Request) es.Reply {
		if _, err := decode(schemas, r); err != nil {
			return runtime.Refusal(r, err)
		}
		return es.Reply{CommandID: r.Meta.CommandID, Stream: r.Meta.Stream.String(), Outcome: es.Accepted}
	}, err
}

// printDry prints what would be sent.
func (a *app) printDry(r es.Request) error {
	schemas, err := schema.New(a.domain)
	if err != nil {
		return err
	}
	decoded, err := decode(schemas, r)
	if err != nil {
		return err
	}
	data, err := json.Marshal(decoded)
	if err != nil {
		return err
	}
	return a.printJSON(wouldSend{r.Meta.CommandID, r.Meta.Stream.String(), r.Type, data, true})
}
