package runtime

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// durability makes replies wait for the disk, when this process embeds the server that holds the log. Without a
// syncer it waits for nothing: the server's own acknowledgement is all there is.
type durability struct {
	mode   es.Durability
	syncer *natsstore.Syncer
	stored atomic.Uint64 // the highest revision acknowledged by the server
	synced atomic.Uint64 // the durable revision: the highest that a sync has covered
}

// logOptions tells the log what its server's acknowledgement is worth.
func (d *durability) logOptions() []func(*natsstore.Log) {
	if d.mode == es.Fast {
		return []func(*natsstore.Log){natsstore.Unsynced}
	}
	return nil
}

// acknowledged hears of every append.
func (d *durability) acknowledged(revision es.Revision) { raise(&d.stored, uint64(revision)) }

// reach returns when a revision, and so all before it, is on disk. ErrUnknownOutcome: it did not get there.
func (d *durability) reach(ctx context.Context, revision es.Revision) error {
	return d.arrive(ctx, revision, d.syncer.Turn())
}

// arrive is reach for one whose turn may have begun.
func (d *durability) arrive(ctx context.Context, revision es.Revision, turn *natsstore.Turn) error {
	if d.syncer == nil || uint64(revision) <= d.synced.Load() {
		return nil
	}
	// A decision may stand on what another process appended through this server: that is covered too, it was read.
	covered := max(d.stored.Load(), uint64(revision))
	if err := turn.Wait(ctx); err != nil {
		return err
	}
	raise(&d.synced, covered)
	return nil
}

// barrier returns when everything that was done before the call is on disk, in whichever stream.
func (d *durability) barrier(ctx context.Context) error {
	if d.syncer == nil {
		return nil
	}
	return d.syncer.Wait(ctx)
}

// middleware lets an input be acknowledged only after a sync that covers everything it caused.
func (d *durability) middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		out, err := h(m)
		if err == nil {
			err = d.barrier(m.Context())
		}
		return out, err
	}
}

// watch ends the process when a sync fails: what was acknowledged since the last good one may be lost, and nothing
// can be promised any more.
func (e *Engine) watchSyncer() {
	if e.cfg.Syncer == nil {
		return
	}
	e.background.Go(func() {
		select {
		case <-e.cfg.Syncer.Failed():
			e.fail(fmt.Errorf("the disk does not take what was acknowledged, which is not promised any more: %w; look after the disk, then start again", e.cfg.Syncer.Err()))
		case <-e.stopped.Done():
		}
	})
}

// register adds the figures of the group commit.
func (d *durability) register(r *prometheus.Registry) {
	if d.syncer == nil {
		return
	}
	counter := func(name, help string, value func(natsstore.SyncStats) float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return value(d.syncer.Stats()) }))
	}
	counter("millstream_syncs_total", "Syncs to disk, of the log alone or of the whole file system.", func(s natsstore.SyncStats) float64 { return float64(s.Syncs) })
	counter("millstream_synced_waits_total", "Waits that syncs have answered; divided by the syncs, the size of a group commit.", func(s natsstore.SyncStats) float64 { return float64(s.Served) })
	counter("millstream_sync_seconds_total", "Time spent in syncs.", func(s natsstore.SyncStats) float64 { return s.Busy.Seconds() })
}

func raise(v *atomic.Uint64, to uint64) {
	for {
		now := v.Load()
		if now >= to || v.CompareAndSwap(now, to) {
			return
		}
	}
}
