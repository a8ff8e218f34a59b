package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// foothold is the newest commit of the log that a transition relies on.
type foothold struct {
	revision  es.Revision
	commandID string
}

// foothold is where the log was heard up to, or the newest commit among the outcomes, whichever is later.
func (t transition) foothold() foothold {
	command, _, _ := strings.Cut(t.Position.EventID, "/")
	f := foothold{t.Position.Revision, command}
	for _, o := range t.Outcomes {
		if o.Reply.Outcome == es.Accepted && o.Reply.Revision > f.revision {
			f = foothold{o.Reply.Revision, o.Reply.CommandID}
		}
	}
	return f
}

// confirm compares the processes with the log, before anything is heard from it. A power cut can take the log's tail and leave a
// transition that was caused by it; its revisions are then used anew, for other events. Such a process is set back to
// its last transition that still stands on the log. What it did since stands later in the log, so it is lost as well.
//
// The log only grows, so a foothold that is found there confirms every earlier one: one look is enough as a rule.
func (s *sagaRunner) confirm(ctx context.Context) error {
	all, err := s.all(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b *process) int { return cmp.Compare(b.foothold().revision, a.foothold().revision) })
	last, err := s.engine.log.LastRevision(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		stands, err := s.stands(ctx, p.foothold(), last)
		if err != nil || stands {
			return err
		}
		if err := s.setBack(ctx, p.key, last); err != nil {
			return err
		}
	}
	return nil
}

func (s *sagaRunner) stands(ctx context.Context, f foothold, last es.Revision) (bool, error) {
	if f.revision == 0 {
		return true, nil
	}
	if f.revision > last {
		return false, nil
	}
	events, err := s.engine.log.At(ctx, f.revision)
	if errors.Is(err, es.ErrPermanent) {
		return false, nil // not a commit that this process could have heard
	}
	if err != nil {
		return false, err
	}
	return len(events) > 0 && events[0].CommandID == f.commandID, nil
}

// setBack restates a process's last transition that stands on the log; when there is none, the process begins anew.
func (s *sagaRunner) setBack(ctx context.Context, key string, last es.Revision) error {
	defer s.lock(key)()
	var trail []transition
	var sequence uint64
	err := s.log.History(ctx, s.saga.Name(), key, func(e natsstore.SagaEntry) error {
		var t transition
		if err := json.Unmarshal(e.Data, &t); err != nil {
			return es.Permanent(fmt.Errorf("saga %s/%s: stored transition at %d: %w", s.saga.Name(), key, e.Sequence, err))
		}
		trail, sequence = append(trail, t), e.Sequence
		return nil
	})
	if err != nil || len(trail) == 0 {
		return err
	}
	newest := trail[len(trail)-1]
	var restated transition
	for _, t := range slices.Backward(trail) {
		stands, err := s.stands(ctx, t.foothold(), last)
		if err != nil {
			return err
		}
		if stands {
			restated = t
			break
		}
	}
	s.engine.cfg.Logger.Warn("saga stood on events that the log has lost, and is set back", "saga", s.saga.Name(), "key", key,
		"from", newest.Number, "to", restated.Number, "revision", newest.foothold().revision, "correlation", newest.Correlation, "logLast", last)
	restated.Number = newest.Number + 1
	restated.Trigger.Kind = "setBack"
	data, err := json.Marshal(restated)
	if err != nil {
		return es.Permanent(err)
	}
	_, err = s.log.Append(ctx, s.saga.Name(), key, data, sequence)
	return err
}
