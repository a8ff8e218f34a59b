package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// nearEnough is how many commits a model built aside may lack when the one it is built for is held still.
const nearEnough = 1000

// rebuild builds the read model anew beside the serving one and swaps it in when it has caught up.
func (p *projection) rebuild(ctx context.Context, progress func(done, total es.Revision)) error {
	if !p.rebuilding.TryLock() {
		return es.Rejected("already", fmt.Sprintf("projector %s is being rebuilt already", p.def.Name))
	}
	defer p.rebuilding.Unlock()
	fresh, err := readmodel.Build(p.engine.modelDir(), p.def)
	if err != nil {
		return err
	}
	err = p.meet(ctx, fresh, progress, func() error {
		if p.model.Complete() {
			if err := fresh.SetComplete(ctx); err != nil {
				return err
			}
		}
		return p.model.Swap(fresh)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("rebuild %s: %w", p.def.Name, err), fresh.Discard())
	}
	return nil
}

// verify builds the read model anew, compares it with the serving one row by row and says the first difference, "" when
// there is none, and the revision at which they were compared.
func (p *projection) verify(ctx context.Context, progress func(done, total es.Revision)) (diff string, at es.Revision, err error) {
	if !p.verifying.TryLock() {
		return "", 0, es.Rejected("already", fmt.Sprintf("projector %s is being verified already", p.def.Name))
	}
	defer p.verifying.Unlock()
	fresh, err := readmodel.BuildToVerify(p.engine.modelDir(), p.def)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, fresh.Discard()) }()
	err = p.meet(ctx, fresh, progress, func() error {
		at, _ = p.model.Checkpoint()
		diff, err = readmodel.Equal(ctx, p.model, fresh)
		return err
	})
	if err != nil {
		return "", 0, fmt.Errorf("verify %s: %w", p.def.Name, err)
	}
	return diff, at, nil
}

// meet replays the log into fresh, then holds the projector still, queries are answered meanwhile, brings fresh to the
// same revision and calls then.
func (p *projection) meet(ctx context.Context, fresh *readmodel.Model, progress func(done, total es.Revision), then func() error) error {
	log := source{js: p.engine.js, tail: p.engine.tail, log: p.engine.log, missing: func(sequence uint64) (any, error) { return p.engine.missing(sequence) }}
	if err := fresh.Skip(ctx, slices.Collect(maps.Values(p.model.Skipped()))...); err != nil {
		return err
	}
	for {
		total, _ := p.model.Checkpoint()
		progress(0, total)
		if err := log.replay(ctx, fresh, total, time.Time{}, progress); err != nil {
			return err
		}
		done, _ := fresh.Checkpoint()
		if now, _ := p.model.Checkpoint(); now-min(now, done) <= nearEnough {
			break
		}
	}
	select {
	case p.applying <- struct{}{}:
		defer func() { <-p.applying }()
	case <-ctx.Done():
		return ctx.Err()
	}
	total, _ := p.model.Checkpoint()
	if err := log.replay(ctx, fresh, total, time.Time{}, progress); err != nil {
		return err
	}
	progress(total, total)
	return then()
}
