package runtime

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// Queued is the answer to a command that was queued and has no reply yet.
type Queued struct {
	CommandID string `json:"commandId"`
	Stream    string `json:"stream"`
	Status    string `json:"status" jsonschema:"enum=pending"`
}

// NewQueued is the answer for a command of a stream.
func NewQueued(s es.Stream, commandID string) Queued { return Queued{commandID, s.String(), "pending"} }

// Enqueue stores a command in COMMANDS, to be worked off in the order of its stream; its reply will stand on
// `outcomes.<category>.<id>.<commandId>` for a day. The returned id is the command's.
func (e *Engine) Enqueue(ctx context.Context, r es.Request) (string, error) {
	given := r.Meta.CommandID != ""
	// The intake takes this id for the client's, as it would had the message come from elsewhere.
	madeUp := func() string { return strings.TrimPrefix(newID(), es.EnginePrefix) }
	if err := admit(&r, madeUp); err != nil {
		return "", err
	}
	command, err := e.schemas.Command(r.Meta.Stream.Category, r.Type)
	if err != nil {
		return "", err
	}
	if command.Internal && !e.cfg.Dev {
		return "", internalCommand(command)
	}
	if given {
		if err := e.reused(ctx, r); err != nil {
			return r.Meta.CommandID, err
		}
	}
	m := message.NewMessageWithContext(ctx, QueuedID(r.Meta.Stream, r.Meta.CommandID), message.Payload(r.Data))
	for k, v := range map[string]string{
		HeaderCorrelation: r.Meta.Correlation, HeaderCausation: r.Meta.Causation,
		HeaderUser: r.Meta.User, HeaderTraceparent: r.Meta.Traceparent,
	} {
		if v != "" {
			m.Metadata.Set(k, v)
		}
	}
	if r.Expected != nil {
		m.Metadata.Set(HeaderExpected, strconv.FormatUint(*r.Expected, 10))
	}
	if vouched, err := e.vouch(ctx, r); err != nil {
		return r.Meta.CommandID, err
	} else if vouched {
		m.Metadata.Set(headerVouched, "yes")
	}
	subject := queueSubject(r.Meta.Stream, r.Type)
	if err := e.queue.Publish(subject, m); err != nil {
		return r.Meta.CommandID, fmt.Errorf("%w: queue %s: %w", es.ErrUnknownOutcome, subject, err)
	}
	return r.Meta.CommandID, nil
}

// startQueueIntake works COMMANDS off, one command of a stream at a time.
func (e *Engine) startQueueIntake() {
	e.consume("commands", "commands.>", LaneConfig{
		Stream: natsstore.CommandsStream, Durable: "commands",
		Keys: func(m *nats.Msg, _ uint64) ([]string, any) {
			stream := strings.TrimPrefix(m.Subject, "commands.")
			if i := strings.LastIndexByte(stream, '.'); i > 0 {
				stream = stream[:i]
			}
			return []string{strings.Replace(stream, ".", "/", 1)}, nil
		},
	}, e.handleQueued)
}

func (e *Engine) handleQueued(m *message.Message) error {
	ctx := m.Context()
	d := DeliveryFrom(ctx)
	request, err := requestOf(d.Subject, d.Header, m.Payload)
	if err != nil {
		return err
	}
	request.Internal = e.cfg.Dev
	if !e.cfg.Dev {
		request.Meta.User = queuedUser
	}
	// Without an id the message is its own: where and when it was stored.
	own := func() string { return derivedID("queued", d.Sequence, d.Time.UnixNano()) }
	if err := admit(&request, own); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if d.Header.Get(headerVouched) != "" && !e.cfg.Dev {
		if request.Meta.User, err = e.queuedBy(ctx, request); err != nil {
			return err
		}
	}
	reply, err := e.executeOwn(ctx, request)
	if err != nil {
		return err
	}
	if err := e.publishOutcome(ctx, request, reply); err != nil {
		return err
	}
	if d.retrial != nil {
		d.retrial.reply = &reply
	}
	switch reply.Outcome {
	case es.Invalid, es.Failed:
		return es.Permanent(fmt.Errorf("%s: %s (%s)", reply.Error.Code, reply.Error.Message, orDefault(reply.Error.Pointer, "the whole command")))
	}
	return nil
}
