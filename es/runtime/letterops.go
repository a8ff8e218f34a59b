package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// lettersSubject and a consumer's name is where processes hear what operators want done about its dead letters. Only
// the engine's account has it; one of the processes that run the consumer answers.
const lettersSubject = "ops.deadletters."

// LetterRequest is what an operator wants done about one dead letter.
type LetterRequest struct {
	Kind   string `json:"kind"` // retry, resend or drop
	ID     string `json:"id"`
	By     string `json:"by"` // who asks, as claimed: recorded, and as operator:<by> the user of a resent command
	Reason string `json:"reason,omitempty"`

	// The corrections of a resend; what is left empty stays as it was.
	Stream string          `json:"stream,omitempty"` // category/id
	Type   string          `json:"type,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
}

// LetterResult is what became of one letter.
type LetterResult struct {
	ID        string         `json:"id"`
	Consumer  string         `json:"consumer"`
	Subject   string         `json:"subject,omitempty"`
	State     LetterState    `json:"state,omitempty"`
	Already   bool           `json:"already,omitempty"`   // it was settled before; nothing was done now
	CommandID string         `json:"commandId,omitempty"` // of the command that was executed
	Outcome   es.OutcomeKind `json:"outcome,omitempty"`   // its outcome
	Error     string         `json:"error,omitempty"`
	Status    int            `json:"status,omitempty"` // of the error, as of Status
}

// LetterReply answers a LetterRequest: the letter's result, then those of the letters that had waited behind it.
type LetterReply struct {
	Results []LetterResult `json:"results"`
	Next    string         `json:"next,omitempty"` // time was up before this one, which also waited: retry it to go on
}

// Err is a result's error as an engine's error of the same status; nil: it was done.
func (r LetterResult) Err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Status == http.StatusNotFound:
		return es.NotFound("dead_letter_not_found", r.Error)
	case r.Status == http.StatusConflict && r.State == Parked: // the command's own no
		return es.Rejected("rejected", r.Error)
	case r.Status == http.StatusConflict:
		return fmt.Errorf("%w: %s", es.ErrConflict, r.Error)
	case r.Status == http.StatusServiceUnavailable:
		return es.Transient(errors.New(r.Error))
	case r.Status < http.StatusInternalServerError:
		return &es.InvalidError{Code: "refused", Message: r.Error}
	}
	return errors.New(r.Error)
}

func (r LetterResult) of(reply *es.Reply) LetterResult {
	if reply != nil {
		r.CommandID, r.Outcome = reply.CommandID, reply.Outcome
	}
	return r
}

func failedResult(id, consumer string, err error) LetterResult {
	return LetterResult{ID: id, Consumer: consumer, Error: err.Error(), Status: Status(err)}
}

// check refuses what an operator left out.
func (r LetterRequest) check() error {
	invalid := func(format string, args ...any) error {
		return &es.InvalidError{Code: "bad_request", Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case !slices.Contains([]string{"retry", "resend", "drop"}, r.Kind):
		return invalid("%.64q can be done to no dead letter: expected retry, resend or drop", r.Kind)
	case r.By == "" || !printable("operator:"+r.By):
		return invalid("who asks must be said, in at most 119 printable ASCII characters")
	case r.Kind == "drop" && r.Reason == "":
		return invalid("dropping a dead letter needs a reason")
	case len(r.Reason) > 1000:
		return invalid("the reason has %d bytes, at most 1000 are kept", len(r.Reason))
	}
	return checkLetterID(r.ID)
}

// command names the command that a resend makes of a letter, as far as it is corrected.
func (r LetterRequest) command() string {
	if r.Kind != "resend" || r.Stream == "" && r.Type == "" {
		return ""
	}
	return r.Stream + " " + r.Type
}

// serveLetters begins to answer operators, for each consumer that runs here.
func (e *Engine) serveLetters() error {
	for _, c := range e.consumers {
		sub, err := e.conn.QueueSubscribe(lettersSubject+c.name, CallQueue, func(m *nats.Msg) {
			e.background.Go(func() {
				body, err := json.Marshal(c.answer(m.Data))
				if err == nil {
					err = m.Respond(body)
				}
				if err != nil {
					e.metrics.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
				}
			})
		})
		if err != nil {
			return err
		}
		e.ops = append(e.ops, sub)
	}
	return nil
}

func (c *consumer) answer(data []byte) LetterReply {
	var r LetterRequest
	if err := json.Unmarshal(data, &r); err != nil {
		return LetterReply{Results: []LetterResult{failedResult("", c.name, &es.InvalidError{Code: "malformed", Message: err.Error()})}}
	}
	if err := r.check(); err != nil {
		return LetterReply{Results: []LetterResult{failedResult(r.ID, c.name, err)}}
	}
	reply := c.act(c.engine.stopped, r)
	if err := c.engine.durability.barrier(c.engine.stopped); err != nil {
		reply.Results = append(reply.Results, failedResult(r.ID, c.name, err))
	}
	return reply
}

// ActOnLetter has something done about a dead letter by a process that runs its consumer. Errors: nobody does
// (nats.ErrNoResponders, transient); no answer came (ErrUnknownOutcome: asking again is safe). What went wrong with a
// letter is in its result.
func ActOnLetter(ctx context.Context, nc *nats.Conn, consumer string, r LetterRequest) (LetterReply, error) {
	var reply LetterReply
	if err := r.check(); err != nil {
		return reply, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return reply, err
	}
	ctx, cancel := context.WithTimeout(ctx, actTime+20*time.Second)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, lettersSubject+consumer, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return reply, es.Transient(fmt.Errorf("no running process consumes %s: start one with its role (%w)", consumer, err))
	case err != nil:
		return reply, fmt.Errorf("%w: dead letter %s: %w", es.ErrUnknownOutcome, r.ID, errors.Join(context.Cause(ctx), err))
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return reply, es.Permanent(fmt.Errorf("answer about dead letter %s: %w", r.ID, err))
	}
	if len(reply.Results) == 0 {
		return reply, es.Permanent(fmt.Errorf("answer about dead letter %s is empty", r.ID))
	}
	return reply, nil
}
