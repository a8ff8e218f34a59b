package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// Sender hands a command to an engine and returns its answer; Engine.Execute is one. It returns no error: what went
// wrong on the way is a Reply too, "unknown" when the command may have arrived and "failed" when it did not.
type Sender func(ctx context.Context, r es.Request) es.Reply

// Call sends commands to call.<category>.<id>.<Command> and waits for each answer, at most for timeout.
func Call(nc *nats.Conn, timeout time.Duration) Sender {
	return func(ctx context.Context, r es.Request) es.Reply {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		msg, err := commandMessage("call", r)
		if err != nil {
			return answer(r, es.Invalid, http.StatusBadRequest, err)
		}
		m, err := nc.RequestMsgWithContext(ctx, msg)
		switch {
		case err == nil:
			return decode(r, m)
		case errors.Is(err, nats.ErrNoResponders):
			return answer(r, es.Failed, http.StatusServiceUnavailable,
				fmt.Errorf("nobody answers %s: is millstream running there, with the role commands?", msg.Subject))
		case errors.Is(err, nats.ErrMaxPayload):
			return answer(r, es.Invalid, http.StatusRequestEntityTooLarge,
				fmt.Errorf("the body has %d bytes, the server takes %d", len(r.Data), nc.MaxPayload()))
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrReconnectBufExceeded):
			return answer(r, es.Failed, http.StatusServiceUnavailable, err)
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return answer(r, es.UnknownOutcome, http.StatusServiceUnavailable,
			fmt.Errorf("no answer from %s, so it may have happened or not: send it again with the same id (%w)", msg.Subject, err))
	}
}

// Enqueue leaves a command in the durable queue and returns its sequence there. Its outcome is later found under
// outcomes.<category>.<id>.<command id>.
func Enqueue(ctx context.Context, nc *nats.Conn, r es.Request) (uint64, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	msg, err := commandMessage("commands", r)
	if err != nil {
		return 0, err
	}
	if id := r.Meta.CommandID; id != "" {
		msg.Header.Set(runtime.HeaderCommandID, runtime.QueuedID(r.Meta.Stream, id))
	}
	ack, err := js.PublishMsg(ctx, msg)
	if err != nil {
		return 0, fmt.Errorf("queue %s: %w", msg.Subject, err)
	}
	return ack.Sequence, nil
}

func commandMessage(prefix string, r es.Request) (*nats.Msg, error) {
	if err := r.Meta.Stream.Validate(); err != nil {
		return nil, err
	}
	if !es.ValidID(r.Type) {
		return nil, &es.InvalidError{Code: "unknown_command", Message: fmt.Sprintf("%.64q cannot be a command's name", r.Type)}
	}
	msg := nats.NewMsg(fmt.Sprintf("%s.%s.%s.%s", prefix, r.Meta.Stream.Category, r.Meta.Stream.ID, r.Type))
	msg.Data = r.Data
	for name, value := range map[string]string{
		"Nats-Msg-Id":    r.Meta.CommandID,
		"Correlation-Id": r.Meta.Correlation,
		"Causation-Id":   r.Meta.Causation,
		"User-Id":        r.Meta.User,
		"traceparent":    r.Meta.Traceparent,
	} {
		if value != "" {
			msg.Header.Set(name, value)
		}
	}
	if r.Expected != nil {
		msg.Header.Set("Millstream-Expected-Version", strconv.FormatUint(*r.Expected, 10))
	}
	return msg, nil
}

func decode(r es.Request, m *nats.Msg) es.Reply {
	var reply es.Reply
	if err := json.Unmarshal(m.Data, &reply); err != nil || reply.Outcome == "" {
		said := m.Header.Get("Nats-Service-Error")
		if said == "" {
			said = fmt.Sprintf("%.200q", m.Data)
		}
		return answer(r, es.Failed, status(m), fmt.Errorf("%s answered something that is no reply: %s", m.Subject, said))
	}
	if reply.Error != nil {
		reply.Error.Status = status(m)
	}
	return reply
}

// status reads the HTTP-like code that a service answers with beside the body; 500 when there is none.
func status(m *nats.Msg) int {
	code, err := strconv.Atoi(m.Header.Get("Nats-Service-Error-Code"))
	if err != nil {
		return http.StatusInternalServerError
	}
	return code
}

// answer is the reply that the way itself gives.
func answer(r es.Request, outcome es.OutcomeKind, status int, err error) es.Reply {
	code := map[int]string{
		http.StatusBadRequest:            "bad_request",
		http.StatusRequestEntityTooLarge: "too_large",
		http.StatusServiceUnavailable:    "unavailable",
	}[status]
	message := err.Error()
	var invalid *es.InvalidError
	switch {
	case errors.As(err, &invalid):
		code, message = invalid.Code, invalid.Message
	case outcome == es.UnknownOutcome:
		code = "outcome_unknown"
	case code == "":
		code = "failed"
	}
	return es.Reply{
		CommandID: r.Meta.CommandID,
		Outcome:   outcome,
		Stream:    r.Meta.Stream.String(),
		Error:     &es.Problem{Code: code, Message: message, Status: status},
	}
}
