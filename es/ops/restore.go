package ops

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// RestoreConfig is what Restore needs.
type RestoreConfig struct {
	Log       *natsstore.Log
	JetStream jetstream.JetStream
	Domain    es.Domain
	Begin     func(ctx context.Context, queue string, after es.Revision) error // makes a saga's or gateway's queue begin after a revision
	DryRun    bool                                                             // only check the file and the log
	Progress  func(done, total uint64)                                         // commits; nil: nobody looks
}

// Restore writes an archive into an empty log, after reading it to its end and checking it against its proof. Streams,
// versions, ids, times and causes are what they were, and of a whole archive the revisions too. Sagas of a whole
// archive go on where they stood, and gateways deliver what they had not delivered; the events of a part are nobody's
// to act on. No engine may be running. Permanent errors, before anything is written: the file is damaged, this program
// does not know its events, the log is not empty, an engine is running.
func Restore(ctx context.Context, file io.ReadSeeker, c RestoreConfig) (Proof, error) {
	proof, err := readArchive(ctx, file, archive{
		commit:     func(_ int, commit []natsstore.CloudEvent) error { return c.Log.Check(commit) },
		transition: func(int, string, string, []byte) error { return nil },
	})
	if err != nil {
		return Proof{}, err
	}
	if err := c.vacant(ctx); err != nil {
		return Proof{}, err
	}
	if c.DryRun {
		return proof, nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return Proof{}, err
	}
	w := &restorer{RestoreConfig: c, proof: proof, sagas: natsstore.NewSagaLog(c.JetStream), last: map[string]es.Revision{}, steps: map[string]uint64{}}
	if _, err := readArchive(ctx, file, archive{
		commit:     func(_ int, commit []natsstore.CloudEvent) error { return w.commit(ctx, commit) },
		transition: func(_ int, saga, key string, data []byte) error { return w.transition(ctx, saga, key, data) },
	}); err != nil {
		return Proof{}, fmt.Errorf("the log holds only a part of the archive now, begin again with an empty one: %w", err)
	}
	return proof, w.begin(ctx)
}

// vacant refuses a log that holds something, or that somebody is reading.
func (c RestoreConfig) vacant(ctx context.Context) error {
	if c.DryRun {
		if _, err := c.JetStream.Stream(ctx, natsstore.EventsStream); errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil // nothing was ever set up there
		}
	}
	last, err := c.Log.LastRevision(ctx)
	if err != nil {
		return err
	}
	if last > 0 {
		return es.Permanent(fmt.Errorf("the log is not empty: it goes up to revision %d. An archive is restored into an empty one, in an account or a data directory of its own", last))
	}
	stream, err := c.JetStream.Stream(ctx, natsstore.EventsStream)
	if err != nil {
		return es.Transient(err)
	}
	consumers := stream.ListConsumers(ctx)
	for info := range consumers.Info() {
		if info.NumWaiting > 0 {
			err = es.Permanent(fmt.Errorf("an engine is running (consumer %s is waiting for events): stop every process before restoring, else they act on what comes", info.Name))
		}
	}
	if listErr := consumers.Err(); listErr != nil {
		return es.Transient(listErr)
	}
	return err
}

type restorer struct {
	RestoreConfig
	proof Proof
	sagas *natsstore.SagaLog
	last  map[string]es.Revision // of each stream's last commit, as restored
	steps map[string]uint64      // sequence of each process's last transition
	end   es.Revision
	done  uint64
}

func (w *restorer) commit(ctx context.Context, commit []natsstore.CloudEvent) error {
	stream := commit[0].Stream()
	revision, err := w.Log.Restore(ctx, commit, w.last[stream])
	if err != nil {
		return err
	}
	w.done++
	if w.proof.Whole && revision != es.Revision(w.done) {
		return es.Permanent(fmt.Errorf("it got revision %d instead of %d: somebody else is writing", revision, w.done))
	}
	w.last[stream], w.end = revision, revision
	if w.Progress != nil {
		w.Progress(w.done, w.proof.Commits)
	}
	return nil
}

func (w *restorer) transition(ctx context.Context, saga, key string, data []byte) error {
	sequence, err := w.sagas.Append(ctx, saga, key, data, w.steps[saga+"/"+key])
	if err != nil {
		return fmt.Errorf("saga %s/%s: %w", saga, key, err)
	}
	w.steps[saga+"/"+key] = sequence
	return nil
}

// begin says where sagas and gateways go on. A saga of a whole archive may hear everything again: its transitions say
// what it has heard.
func (w *restorer) begin(ctx context.Context) error {
	var errs []error
	for _, g := range w.Domain.Gateways {
		after := w.end
		if delivered, known := w.proof.Gateways[gatewayQueue(g.Name)]; known && w.proof.Whole {
			after = delivered
		}
		errs = append(errs, w.Begin(ctx, gatewayQueue(g.Name), after))
	}
	for _, s := range w.Domain.Sagas {
		if !w.proof.Whole {
			errs = append(errs, w.Begin(ctx, sagaQueue(s.Name()), w.end))
		}
	}
	return errors.Join(errs...)
}
