package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// consumer is one durable queue's handler, which live messages and the originals of dead letters go through alike.
type consumer struct {
	engine *Engine
	name   string // of the durable consumer, which dead letters bear
	stream string // what it consumes
	keys   func(*nats.Msg, uint64) ([]string, any)
	handle message.HandlerFunc // recovered and judged
	park   bool                // later messages of a key wait behind one that was put aside
	turns  keyedMutex          // within the process: what is live and what is tried again take turns by key
}

// retrial marks a dead letter's original that is tried again.
type retrial struct {
	reply *es.Reply // of the command, when it was one
}

// actTime bounds what one request does: no further attempt is begun after it.
const actTime = 25 * time.Second

func (c *consumer) turn(key string) (end func()) {
	return c.turns.lock(es.Stream{Category: c.name, ID: key})
}

// live handles a message that a lane has handed out.
func (c *consumer) live(m *message.Message) ([]*message.Message, error) {
	d := DeliveryFrom(m.Context())
	defer c.turn(d.Key)()
	if c.park {
		first, err := c.engine.letters.ahead(m.Context(), DeadLetter{Consumer: c.name, Key: d.Key, Sequence: d.Sequence})
		if err != nil {
			return nil, err
		}
		if first != "" {
			m.Metadata.Set(behindKey, first)
			return nil, es.Permanent(fmt.Errorf("waits behind %s", first))
		}
	}
	return c.handle(m)
}

// act does what an operator asks for. When that settles a letter, those that waited behind it are tried in order,
// until one fails: it is then the one that the others wait behind.
func (c *consumer) act(ctx context.Context, r LetterRequest) LetterReply {
	until, cancel := context.WithTimeout(c.engine.acting, actTime)
	defer cancel()
	letter, err := c.engine.letters.find(ctx, c.name, r.ID)
	if err != nil {
		return LetterReply{Results: []LetterResult{failedResult(r.ID, c.name, err)}}
	}
	if letter == nil { // settled before, or unknown
		return LetterReply{Results: []LetterResult{c.one(ctx, until, r)}}
	}
	defer c.turn(letter.Key)()
	reply := LetterReply{Results: []LetterResult{c.one(ctx, until, r)}}
	if !reply.Results[0].State.Settled() {
		return reply
	}
	if err := c.release(ctx, until, letter.DeadLetter, r, &reply); err != nil {
		reply.Results = append(reply.Results, failedResult(reply.Next, c.name, fmt.Errorf("try those that waited behind %s: %w", r.ID, err)))
	}
	return reply
}

// release tries what waited behind a letter that has been settled. Its key's turn is held.
func (c *consumer) release(ctx, until context.Context, settled DeadLetter, r LetterRequest, reply *LetterReply) error {
	for {
		lane, err := c.engine.letters.lane(ctx, c.name, settled.Key)
		if err != nil {
			return err
		}
		if len(lane) == 0 {
			return nil
		}
		for i, next := range lane {
			if next.Behind == "" {
				return c.waitBehind(ctx, next.ID, lane[i+1:])
			}
			if until.Err() != nil {
				reply.Next = next.ID
				return nil //nolint:nilerr // time is up: the caller goes on with Next
			}
			result := c.one(ctx, until, LetterRequest{Kind: "retry", ID: next.ID, By: r.By, Reason: "waited behind " + settled.ID})
			if result.State == "" && result.Status == http.StatusNotFound {
				continue // whoever put it there saw that nothing is ahead any more, and took it back
			}
			reply.Results = append(reply.Results, result)
			if !result.State.Settled() {
				return c.waitBehind(ctx, next.ID, lane[i+1:])
			}
		}
		// Others may have come meanwhile: only an empty lane lets live messages through again.
	}
}

// waitBehind lets letters wait behind another one than before.
func (c *consumer) waitBehind(ctx context.Context, first string, waiting []storedLetter) error {
	for _, w := range waiting {
		if w.Behind == "" || w.Behind == first {
			continue
		}
		w.Behind, w.Error = first, "waits behind "+first
		if err := c.engine.letters.write(ctx, w.DeadLetter, w.at); err != nil && !errors.Is(err, es.ErrConflict) {
			return err
		}
	}
	return nil
}

// one does what is asked for to one letter, and records it.
func (c *consumer) one(ctx, until context.Context, r LetterRequest) LetterResult {
	letters := c.engine.letters
	fail := func(err error) LetterResult { return failedResult(r.ID, c.name, err) }
	s, err := letters.find(ctx, c.name, r.ID)
	if err != nil {
		return fail(err)
	}
	last, at, err := letters.last(ctx, r.ID)
	switch {
	case err != nil:
		return fail(err)
	case last.State.Settled():
		if err := letters.remove(ctx, s); err != nil {
			return fail(err)
		}
		return LetterResult{ID: r.ID, Consumer: c.name, Subject: last.Letter.Subject, State: last.State, Already: true}.of(last.Reply)
	case s == nil:
		return fail(noSuchLetter(r.ID))
	}
	if s.Behind != "" && r.Kind != "drop" {
		first, err := letters.ahead(ctx, s.DeadLetter)
		if err != nil {
			return fail(err)
		}
		if first != "" {
			return LetterResult{
				ID: r.ID, Consumer: c.name, Subject: s.Subject, State: Waiting, Status: http.StatusConflict,
				Error: fmt.Sprintf("it waits behind %s: retry, resend or drop that one, and this one is tried too", first),
			}
		}
	}
	op := Operation{Kind: r.Kind, By: r.By, Reason: r.Reason, Command: r.command()}
	attempts := 0
	var state LetterState
	switch r.Kind {
	case "retry":
		state = Retried
		op.Reply, attempts, err = c.again(until, s.DeadLetter)
	case "resend":
		state = Resent
		op.Reply, err = c.resend(until, s.DeadLetter, r)
	case "drop":
		state = Dropped
	}
	result := LetterResult{ID: r.ID, Consumer: c.name, Subject: s.Subject, State: state}.of(op.Reply)
	if err == nil {
		op.State = state
		if err := letters.settle(ctx, *s, op, at); err != nil {
			return fail(fmt.Errorf("%s, but not recorded: %w", state, err))
		}
		c.engine.cfg.Logger.Info("dead letter settled", "deadLetter", r.ID, "consumer", c.name, "subject", s.Subject, "state", string(state), "by", r.By, "reason", r.Reason)
		return result
	}
	result.State, result.Error, result.Status = s.State(), err.Error(), Status(err)
	if attempts > 0 { // it has had its turn: from now on others wait behind it
		s.Attempts += attempts
		s.Error, s.FailedAt, s.Behind = err.Error(), time.Now().UTC(), ""
		result.State = Parked
	}
	op.State, op.Error = result.State, result.Error
	err = letters.record(ctx, s.DeadLetter, op, at)
	if err == nil && attempts > 0 {
		err = letters.write(ctx, s.DeadLetter, s.at)
	}
	if err != nil {
		return fail(fmt.Errorf("%s failed (%s), and that could not be recorded: %w", r.Kind, result.Error, err))
	}
	return result
}

// again hands a letter's original to the consumer's handler, as its lane would: what is transient is tried again
// after a growing pause, until time is up. reply is a command's.
func (c *consumer) again(ctx context.Context, letter DeadLetter) (reply *es.Reply, attempts int, err error) {
	keys, payload := c.keys(&nats.Msg{Subject: letter.Subject, Header: nats.Header(letter.Headers), Data: letter.Body()}, letter.Sequence)
	if err := c.inLog(ctx, letter, payload); err != nil {
		return nil, 1, err
	}
	if slices.Contains(keys, letter.Key) {
		keys = []string{letter.Key}
	} // else the message could not be read when it was put aside, and nobody knew whose it was
	r := &retrial{}
	handle := c.engine.durability.middleware(c.handle)
	try := func(key string) (n int, err error) {
		if key != letter.Key {
			defer c.turn(key)()
		}
		pause := newBackoff(20*time.Millisecond, 5*time.Second)
		for n = 1; ; n++ {
			_, err = handle(letter.message(ctx, Delivery{Key: key, Attempt: n, Payload: payload, retrial: r}))
			if err == nil || errors.Is(err, es.ErrPermanent) || !pause.wait(ctx) {
				return n, err
			}
		}
	}
	for _, key := range keys {
		n, err := try(key)
		attempts = max(attempts, n)
		if err != nil {
			return r.reply, attempts, err
		}
	}
	return r.reply, attempts, nil
}

// inLog refuses an event that the log has lost since: after a power cut in fast mode the same revision may be another
// commit, and nobody may react to what never happened.
func (c *consumer) inLog(ctx context.Context, letter DeadLetter, payload any) error {
	commit, ok := payload.(decoded)
	if c.stream != natsstore.EventsStream || !ok || len(commit.events) == 0 {
		return nil
	}
	stored, err := c.engine.log.At(ctx, es.Revision(letter.Sequence))
	if err != nil {
		return fmt.Errorf("look for the event at revision %d: %w", letter.Sequence, err)
	}
	if len(stored) == 0 || stored[0].ID != commit.events[0].ID {
		return es.Permanent(fmt.Errorf("event %s is no longer in the log, which has lost its tail since; drop the letter", commit.events[0].ID))
	}
	return nil
}

// resend executes a corrected copy of a letter's command as a new one, caused by the letter. Its id is made from the
// letter's, so that a letter is resent with effect once, whatever the correction.
func (c *consumer) resend(ctx context.Context, letter DeadLetter, r LetterRequest) (*es.Reply, error) {
	tokens := strings.Split(letter.Subject, ".")
	if c.stream != natsstore.CommandsStream || len(tokens) != 4 {
		return nil, es.Rejected("no_command", "").With("only a command can be corrected and sent again, and %s is none: mend what failed on it, then retry; or drop it", letter.Subject)
	}
	header, stream := nats.Header(letter.Headers), es.Stream{Category: tokens[1], ID: tokens[2]}
	request := es.Request{Type: cmp.Or(r.Type, tokens[3]), Data: letter.Body()}
	if r.Data != nil {
		request.Data = r.Data
	}
	request.Meta = es.Meta{
		Stream: stream, CommandID: derivedID("resend", letter.ID),
		User: "operator:" + r.By, Correlation: cmp.Or(header.Get(HeaderCorrelation), commandID(stream, header)), Causation: letter.ID,
	}
	if !printable(request.Meta.Correlation) {
		request.Meta.Correlation = "" // it may be what was wrong
	}
	if r.Stream != "" {
		var err error
		if request.Meta.Stream, err = es.ParseStream(r.Stream); err != nil {
			return nil, err
		}
	}
	reply, err := c.engine.executeOwn(ctx, request)
	if err != nil {
		return nil, err
	}
	switch p := reply.Error; reply.Outcome {
	case es.Accepted, es.Unchanged:
		return &reply, c.engine.durability.barrier(ctx)
	case es.RejectedReply:
		return &reply, &es.Rejection{Code: p.Code, Message: p.Message, Pointer: p.Pointer}
	case es.Invalid:
		return &reply, &es.InvalidError{Code: p.Code, Message: p.Message, Pointer: p.Pointer}
	default:
		return &reply, es.Permanent(fmt.Errorf("%s: %s", p.Code, p.Message))
	}
}

// missed reports whether a retried event, older than what its process has heard since, is not among its triggers.
func (s *sagaRunner) missed(ctx context.Context, key string, r es.Recorded) (bool, error) {
	if DeliveryFrom(ctx).retrial == nil {
		return false, nil
	}
	heard := false
	err := s.log.History(ctx, s.saga.Name(), key, func(entry natsstore.SagaEntry) error {
		p, err := s.decode(entry)
		heard = heard || err == nil && p.Trigger.Kind == "event" && p.Trigger.ID == r.ID
		return err
	})
	return err == nil && !heard, err
}
