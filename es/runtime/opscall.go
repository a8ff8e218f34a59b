package runtime

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

const (
	opsGathering = 2 * time.Second        // nodes make themselves known in this time
	opsQuiet     = 400 * time.Millisecond // after which, all known ones having ended, no other is waited for
	opsSilence   = 15 * time.Second       // a node at work that says nothing for so long is given up
)

// ask sends a request to the nodes and returns each one's last step, in the order of their names; a query has one
// answer. The error joins those of the nodes.
func ask(ctx context.Context, nc *nats.Conn, verb string, r ProjectionRequest, progress func(node string, done, total es.Revision)) ([]opsStep, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, es.Permanent(err)
	}
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection goes soon as well
	if err := nc.PublishRequest(opsSubject+verb, inbox, body); err != nil {
		return nil, err
	}
	nodes := map[string]opsStep{}
	gathering := time.Now().Add(opsGathering)
	for {
		open := len(nodes) == 0
		for _, s := range nodes {
			open = open || !s.Ended
		}
		if !open && verb == verbQuery {
			return answersOf(nodes)
		}
		wait := opsSilence
		switch {
		case len(nodes) == 0 && verb != verbQuery:
			wait = time.Until(gathering)
		case len(nodes) == 0:
			wait = questionTime + time.Second
		case !open:
			wait = min(opsQuiet, time.Until(gathering))
		}
		step, err := nextStep(ctx, sub, wait)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrNoResponders):
			return nil, es.Transient(errors.New("no process with the projectors' role is running there"))
		case errors.Is(err, context.DeadlineExceeded) && !open:
			return answersOf(nodes)
		case errors.Is(err, context.DeadlineExceeded):
			found, err := answersOf(nodes)
			return found, es.Transient(errors.Join(err, fmt.Errorf("no word from the nodes for %s", wait.Round(time.Second))))
		case err != nil:
			return nil, err
		}
		nodes[step.Node] = step
		if progress != nil && step.Error == "" {
			progress(step.Node, step.Done, step.Total)
		}
	}
}

func answersOf(nodes map[string]opsStep) ([]opsStep, error) {
	steps := slices.SortedFunc(maps.Values(nodes), func(a, b opsStep) int { return cmp.Compare(a.Node, b.Node) })
	var errs []error
	for _, s := range steps {
		if s.Error != "" {
			errs = append(errs, nodeError(s))
		}
	}
	return steps, errors.Join(errs...)
}

// nodeError is a node's error, of the same kind as it was there.
func nodeError(s opsStep) error {
	err := fmt.Errorf("node %s: %s", s.Node, s.Error)
	switch {
	case s.Status == 404:
		return es.NotFound("unknown_projector", err.Error())
	case s.Status == 409:
		return es.Rejected("rejected", err.Error())
	case s.Status == 503:
		return es.Transient(err)
	case s.Status >= 400 && s.Status < 500:
		return &es.InvalidError{Code: "malformed", Message: s.Error}
	}
	return err
}

func nextStep(ctx context.Context, sub *nats.Subscription, wait time.Duration) (step opsStep, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return step, err
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return step, nats.ErrNoResponders
	}
	d := json.NewDecoder(bytes.NewReader(m.Data))
	d.UseNumber() // a table's integers are exact
	return step, d.Decode(&step)
}
