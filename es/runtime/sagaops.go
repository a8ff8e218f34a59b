package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// sagasSubject and a saga's name is where processes with the sagas' role hear what operators want done to one of its
// processes; one of them answers. Only the engine's account has it.
const sagasSubject = "ops.sagas."

// What can be done to a process.
const (
	RetryProcess  = "retry"  // do again what its newest transition owes, and arm its timers again
	CancelProcess = "cancel" // let it undo what it did, as far as it knows how
	EndProcess    = "end"    // end it where it stands, with nothing undone
)

// ProcessRequest is what an operator wants done to one process.
type ProcessRequest struct {
	Kind   string `json:"kind"`
	Saga   string `json:"saga"`
	Key    string `json:"key"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"` // needed to cancel and to end
}

// ProcessReply answers a ProcessRequest.
type ProcessReply struct {
	Saga   string       `json:"saga"`
	Key    string       `json:"key"`
	State  ProcessState `json:"state,omitempty"` // after
	From   uint64       `json:"from"`            // number of the newest transition before, and after
	To     uint64       `json:"to"`
	Error  string       `json:"error,omitempty"`
	Code   string       `json:"code,omitempty"`
	Status int          `json:"status,omitempty"` // of the error, as of Status
}

func (r ProcessReply) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Status == http.StatusNotFound:
		return es.NotFound(r.Code, r.Error)
	case r.Status == http.StatusConflict && r.Code == "conflict":
		return fmt.Errorf("%w: %s", es.ErrConflict, r.Error)
	case r.Status == http.StatusConflict:
		return es.Rejected(r.Code, r.Error)
	case r.Status == http.StatusServiceUnavailable:
		return es.Transient(errors.New(r.Error))
	case r.Status < http.StatusInternalServerError:
		return &es.InvalidError{Code: r.Code, Message: r.Error}
	}
	return errors.New(r.Error)
}

func (r ProcessRequest) check() error {
	switch r.Kind {
	case RetryProcess:
	case CancelProcess, EndProcess:
		if strings.TrimSpace(r.Reason) == "" {
			return &es.InvalidError{Code: "bad_request", Message: "why a process is given up must be said: it stays on record"}
		}
	default:
		return &es.InvalidError{Code: "bad_request", Message: fmt.Sprintf("%.64q can be done to no process: expected retry, cancel or end", r.Kind)}
	}
	if err := checkOperator(r.By, r.Reason); err != nil {
		return err
	}
	return es.Stream{Category: r.Saga, ID: r.Key}.Validate()
}

// ActOnProcess has something done to a process by one of those that run its saga. Errors: nobody does (transient); no
// answer came (ErrUnknownOutcome: asking again is safe); NotFound saga_not_found; rejections not_cancellable,
// cancelled_too_late and saga_done.
func ActOnProcess(ctx context.Context, nc *nats.Conn, r ProcessRequest) (ProcessReply, error) {
	var reply ProcessReply
	if err := r.check(); err != nil {
		return reply, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return reply, err
	}
	ctx, cancel := context.WithTimeout(ctx, actTime+10*time.Second)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, sagasSubject+r.Saga, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return reply, es.Transient(fmt.Errorf("no running process has the saga %q and the sagas' role (%w)", r.Saga, err))
	case err != nil:
		return reply, fmt.Errorf("%w: %s %s/%s: %w", es.ErrUnknownOutcome, r.Kind, r.Saga, r.Key, errors.Join(context.Cause(ctx), err))
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return reply, es.Permanent(fmt.Errorf("answer about saga %s/%s: %w", r.Saga, r.Key, err))
	}
	return reply, reply.err()
}

// serveSaga begins to answer operators about a saga's processes.
func (e *Engine) serveSaga(s *sagaRunner) error {
	sub, err := e.conn.QueueSubscribe(sagasSubject+s.saga.Name(), CallQueue, func(m *nats.Msg) {
		e.background.Go(func() {
			body, err := json.Marshal(s.answer(m.Data))
			if err == nil {
				err = m.Respond(body)
			}
			if err != nil {
				e.metrics.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
			}
		})
	})
	if err == nil {
		e.ops = append(e.ops, sub)
	}
	return err
}

func (s *sagaRunner) answer(data []byte) ProcessReply {
	var r ProcessRequest
	var reply ProcessReply
	err := json.Unmarshal(data, &r)
	if err != nil {
		err = &es.InvalidError{Code: "malformed", Message: err.Error()}
	} else if err = r.check(); err == nil {
		reply, err = s.act(r)
	}
	if err == nil {
		err = s.engine.durability.barrier(s.engine.stopped)
	}
	reply.Saga, reply.Key = s.saga.Name(), r.Key
	if err != nil {
		p := Problem(err)
		reply.Error, reply.Code, reply.Status = err.Error(), p.Code, p.Status
		var no *es.Rejection
		if errors.As(err, &no) {
			reply.Error = no.Message
		}
	}
	return reply
}

// act does what is asked, and records it.
func (s *sagaRunner) act(r ProcessRequest) (reply ProcessReply, err error) {
	ctx, cancel := context.WithTimeout(s.engine.acting, actTime)
	defer cancel()
	pause := newBackoff(10*time.Millisecond, time.Second)
	for {
		var p *process
		p, err = s.actOn(ctx, r, &reply)
		if p != nil {
			reply.To, reply.State = p.Number, p.state()
		}
		// Another worker made a step at the same time: look again.
		if !errors.Is(err, es.ErrConflict) || !pause.wait(ctx) {
			break
		}
	}
	if errors.Is(err, errNoProcess) {
		return reply, err
	}
	a := Action{Kind: r.Kind, By: r.By, Reason: r.Reason, State: string(reply.State), Detail: struct {
		From uint64 `json:"from"`
		To   uint64 `json:"to"`
	}{reply.From, reply.To}}
	if err == nil {
		s.engine.cfg.Logger.Info("an operator acted on a saga's process", "saga", s.saga.Name(), "key", r.Key, "kind", r.Kind, "by", r.By, "state", string(reply.State))
	}
	return reply, record(s.engine.stopped, s.engine.js, OnSagas, s.saga.Name()+"/"+r.Key, a, err)
}

func (s *sagaRunner) actOn(ctx context.Context, r ProcessRequest, reply *ProcessReply) (*process, error) {
	defer s.lock(r.Key)()
	p, err := s.load(ctx, r.Key)
	if err != nil {
		return nil, err
	}
	if p.sequence == 0 {
		return nil, errNoProcess.With("saga %s has no process %q", r.Saga, r.Key)
	}
	if reply.From == 0 {
		reply.From = p.Number
	}
	switch r.Kind {
	case CancelProcess:
		return p, s.cancel(ctx, p, r)
	case EndProcess:
		return p, s.end(ctx, p, r)
	default:
		return p, s.renew(ctx, p)
	}
}

// renew arms the process's timers again and settles what it owes.
func (s *sagaRunner) renew(ctx context.Context, p *process) error {
	for name, t := range p.Timers {
		if err := s.timers.Set(ctx, s.saga.Name(), p.key, name, t.ID, t.At); err != nil {
			return err
		}
	}
	return s.settle(ctx, p)
}

// cancel lets the process hear that it is to be given up. What it owes is settled first: a decision to undo stands on
// all that was done.
func (s *sagaRunner) cancel(ctx context.Context, p *process, r ProcessRequest) error {
	if !s.saga.HearsCancelled() {
		return es.Rejected("not_cancellable", fmt.Sprintf("saga %s does not know how to undo what it did; it can only be ended where it stands, by force", s.saga.Name()))
	}
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	if p.Done {
		return errProcessDone(p)
	}
	id := derivedID("cancelled", s.saga.Name(), p.key, p.Number)
	now := time.Now().UTC()
	in := es.Recorded{
		Event: es.Cancelled{By: r.By, Reason: r.Reason}, ID: id,
		Meta: es.Meta{Stream: es.Stream{Category: s.saga.Name(), ID: p.key}, User: "operator:" + r.By, Correlation: p.Correlation, Causation: id, Time: now},
	}
	on := trigger{Kind: triggerCancelled, ID: id, Time: now, By: r.By, Reason: r.Reason}
	before := p.Number
	if err := s.step(ctx, p, on, p.Position, nil, in); err != nil {
		return err
	}
	if p.Number == before {
		return es.Rejected("cancelled_too_late", fmt.Sprintf("process %s of saga %s is past what can be undone, and goes on", p.key, s.saga.Name()))
	}
	return s.settle(ctx, p)
}

// end stops the process where it stands: no outcome is waited for any more and its timers are taken back. Its state
// stays as it is, so that whatever still comes for it finds what was done and what was not.
func (s *sagaRunner) end(ctx context.Context, p *process, r ProcessRequest) error {
	settling, stop := context.WithTimeout(ctx, actTime/3)
	err := s.settle(settling, p)
	stop()
	if errors.Is(err, es.ErrConflict) {
		return err
	}
	if p.Done && err == nil {
		return errProcessDone(p)
	}
	on := trigger{Kind: triggerEnded, ID: derivedID("ended", s.saga.Name(), p.key, p.Number), Time: time.Now().UTC(), By: r.By, Reason: r.Reason}
	next, err := p.next(s.saga.Name(), p.key, on, p.State, []es.Effect{es.Done{}}, nil)
	if err != nil {
		return err
	}
	if err := s.store(ctx, p, next); err != nil {
		return err
	}
	return s.settle(ctx, p)
}

func errProcessDone(p *process) error {
	return es.Rejected("saga_done", fmt.Sprintf("process %s is done: there is nothing to give up", p.key))
}

func (p *process) state() ProcessState {
	if p.Done {
		return ProcessDone
	}
	return ProcessOpen
}
