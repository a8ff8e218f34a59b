package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

const (
	// headerRequestHash stands beside a reply in OUTCOMES and tells which command it answers: an id may come back with
	// another.
	headerRequestHash = "Millstream-Request-Hash"
	// headerQueuedBy stands in OUTCOMES before there is a reply, on a message without a body: who queued the command.
	headerQueuedBy = "Millstream-Queued-By"
	// headerVouched says of a queued command that it is worth looking for headerQueuedBy.
	headerVouched = "Millstream-Vouched"
)

// ErrOutcomeNotFound (a NotFound rejection): no queued command of that id is waiting, and none was answered within a
// day.
var ErrOutcomeNotFound = es.NotFound("outcome_not_found", "no queued command of this id is known")

// Refusal is the reply to a command that was not carried out because of err.
func Refusal(r es.Request, err error) es.Reply { return invalidReply(r, err) }

func queueSubject(s es.Stream, commandType string) string {
	return strings.Join([]string{"commands", s.Category, s.ID, commandType}, ".")
}

func outcomeSubject(s es.Stream, commandID string) string {
	return strings.Join([]string{"outcomes", s.Category, s.ID, commandID}, ".")
}

// Outcome tells what became of a queued command: its reply, or that it is pending. Errors: ErrOutcomeNotFound; an
// InvalidError for a bad id; transient ones.
func (e *Engine) Outcome(ctx context.Context, s es.Stream, commandID string) (reply es.Reply, pending bool, err error) {
	if err := s.Validate(); err != nil {
		return reply, false, err
	}
	if !es.ValidID(commandID) {
		return reply, false, &es.InvalidError{Code: "bad_id", Message: "the command id must match [A-Za-z0-9_-]{1,64}"}
	}
	// A command leaves the queue after its reply was stored: what is neither there nor answered then is unknown.
	waiting, err := e.waiting(ctx, s, commandID)
	if err != nil || waiting != nil {
		return reply, waiting != nil, err
	}
	answered, err := e.outcomeOf(ctx, s, commandID)
	if err != nil {
		return reply, false, err
	}
	if answered == nil || len(answered.Data) == 0 {
		return reply, false, ErrOutcomeNotFound.With("no queued command %s of %s is waiting, and none was answered within a day", commandID, s)
	}
	return reply, false, unmarshalReply(answered.Data, &reply)
}

// AwaitOutcome is Outcome, but for a pending command: it then waits until there is a reply or ctx ends, and says
// pending.
func (e *Engine) AwaitOutcome(ctx context.Context, s es.Stream, commandID string) (reply es.Reply, pending bool, err error) {
	if err := errors.Join(s.Validate(), (es.Stream{Category: s.Category, ID: commandID}).Validate()); err != nil {
		return e.Outcome(ctx, s, commandID)
	}
	arrived := make(chan *nats.Msg, 16)
	sub, err := e.conn.ChanSubscribe(outcomeSubject(s, commandID), arrived)
	if err != nil {
		return reply, false, es.Transient(fmt.Errorf("await the outcome of %s: %w", commandID, err))
	}
	defer sub.Unsubscribe() //nolint:errcheck // fails when the connection is closed, and the subscription with it
	// What is answered before the server knows of the subscription is found by looking, what is answered after it arrives.
	flushing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := e.conn.FlushWithContext(flushing); err != nil {
		return reply, false, es.Transient(fmt.Errorf("await the outcome of %s: %w", commandID, err))
	}
	reply, pending, err = e.Outcome(ctx, s, commandID)
	if err != nil || !pending {
		return reply, pending, err
	}
	for {
		select {
		case m := <-arrived:
			if len(m.Data) > 0 {
				return reply, false, unmarshalReply(m.Data, &reply)
			}
		case <-ctx.Done():
			return reply, true, nil
		}
	}
}

func unmarshalReply(data []byte, to *es.Reply) error {
	if err := json.Unmarshal(data, to); err != nil {
		return es.Permanent(fmt.Errorf("an outcome is no reply: %w", err))
	}
	return nil
}

// waiting finds a command in the queue; nil: it is not there.
func (e *Engine) waiting(ctx context.Context, s es.Stream, id string) (found *jetstream.RawStreamMsg, err error) {
	stop := errors.New("found")
	err = natsstore.Scan(ctx, e.js, natsstore.CommandsStream, queueSubject(s, "*"), func(m *jetstream.RawStreamMsg) error {
		if commandID(s, m.Header) == id {
			found = m
			return stop
		}
		return nil
	})
	if errors.Is(err, stop) {
		err = nil
	}
	return found, err
}

// outcomeOf finds a reply as the stream's leader knows it; nil: there is none.
func (e *Engine) outcomeOf(ctx context.Context, s es.Stream, commandID string) (*nats.RawStreamMsg, error) {
	js, err := e.conn.JetStream()
	if err != nil {
		return nil, es.Permanent(err)
	}
	m, err := js.GetLastMsg(natsstore.OutcomesStream, outcomeSubject(s, commandID), nats.Context(ctx))
	if errors.Is(err, nats.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, es.Transient(fmt.Errorf("outcome of %s: %w", commandID, err))
	}
	return m, nil
}

// reused refuses a command whose id was queued for another one. What was not queued is found when it is decided.
func (e *Engine) reused(ctx context.Context, r es.Request) error {
	refusal := &es.InvalidError{Code: "id_reused", Message: fmt.Sprintf("command id %q was used for another command on %s: take a new id", r.Meta.CommandID, r.Meta.Stream)}
	hash := schema.RequestHash(r.Type, r.Data)
	waiting, err := e.waiting(ctx, r.Meta.Stream, r.Meta.CommandID)
	if err != nil {
		return err
	}
	if waiting != nil {
		if typ := waiting.Subject[strings.LastIndexByte(waiting.Subject, '.')+1:]; schema.RequestHash(typ, waiting.Data) != hash {
			return refusal
		}
		return nil
	}
	answered, err := e.outcomeOf(ctx, r.Meta.Stream, r.Meta.CommandID)
	if err != nil || answered == nil {
		return err
	}
	if known := answered.Header.Get(headerRequestHash); known != "" && known != hash {
		return refusal
	}
	return nil
}

// vouch leaves word of who queues a command where no client can write: what a message in the queue says of its sender,
// anybody may have written. In dev it is believed all the same.
func (e *Engine) vouch(ctx context.Context, r es.Request) (vouched bool, err error) {
	if e.cfg.Dev || r.Meta.User == "" {
		return false, nil
	}
	m := nats.NewMsg(outcomeSubject(r.Meta.Stream, r.Meta.CommandID))
	m.Header.Set(headerRequestHash, schema.RequestHash(r.Type, r.Data))
	m.Header.Set(headerQueuedBy, r.Meta.User)
	if _, err := e.js.PublishMsg(ctx, m); err != nil {
		return false, es.Transient(fmt.Errorf("queue %s: %w", r.Meta.CommandID, err))
	}
	return true, nil
}

// queuedBy is who queued a command, if somebody vouches for that and for this very command.
func (e *Engine) queuedBy(ctx context.Context, r es.Request) (string, error) {
	m, err := e.outcomeOf(ctx, r.Meta.Stream, r.Meta.CommandID)
	if err != nil {
		return "", err
	}
	if m == nil || m.Header.Get(headerQueuedBy) == "" || m.Header.Get(headerRequestHash) != schema.RequestHash(r.Type, r.Data) {
		return queuedUser, nil
	}
	return m.Header.Get(headerQueuedBy), nil
}

// publishOutcome leaves the reply where the sender can look for it. That an id was used for another command is no
// outcome of that other: it never takes its reply's place.
func (e *Engine) publishOutcome(ctx context.Context, r es.Request, reply es.Reply) error {
	m := nats.NewMsg(outcomeSubject(r.Meta.Stream, r.Meta.CommandID))
	m.Header.Set(headerRequestHash, schema.RequestHash(r.Type, r.Data))
	var err error
	if m.Data, err = json.Marshal(reply); err != nil {
		return es.Permanent(err)
	}
	var guard []jetstream.PublishOpt
	reused := reply.Error != nil && reply.Error.Code == "id_reused"
	if reused {
		guard = append(guard, jetstream.WithExpectLastSequencePerSubject(0))
	}
	_, err = e.js.PublishMsg(ctx, m, guard...)
	var refused *jetstream.APIError
	if reused && errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil
	}
	if err != nil {
		return es.Transient(errors.Join(errors.New("outcome of "+r.Meta.CommandID), err))
	}
	return nil
}
