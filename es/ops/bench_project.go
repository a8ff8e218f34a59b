package ops

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

// bareBatch is the size of the bare loop's transactions: what a projector's grow to while it is far behind.
const bareBatch = 4000

// benchProject lets a projector catch up with the log from its beginning, beside bare loops that decode the same bytes
// and upsert the same rows; then it follows the log at a rate, and the time from the beginning of an append until
// the read model shows it is taken.
func benchProject(ctx context.Context, s *benchSite, r *BenchReport) (err error) {
	s.Logger.Info("filling the log", "events", s.History)
	if err := s.fill(ctx, s.History, s.Aggregates); err != nil {
		return err
	}
	whole := contender{"bare loop", s.History, s.bareLoop(func(m jetstream.Msg, revision uint64) (string, tallied, error) {
		events, err := s.log.Decode(m.Subject(), m.Headers(), m.Data(), revision)
		if err != nil {
			return "", tallied{}, err
		}
		return events[0].Stream.ID, events[0].Event.(tallied), nil
	})}
	bodies := contender{"bare loop, bodies only", s.History, s.bareLoop(func(m jetstream.Msg, _ uint64) (id string, e tallied, err error) {
		stream, err := natsstore.StreamOf(m.Subject())
		if err != nil {
			return "", e, err
		}
		return stream.ID, e, json.Unmarshal(m.Data(), &e)
	})}
	if r.Results, err = s.alternate(ctx, contender{"projector", s.History, s.catchUp}, whole, bodies); err != nil {
		return err
	}
	r.Ratios = append(r.Ratios, throughput(r.Results[0], r.Results[1]), throughput(r.Results[0], r.Results[2]))

	engine, err := s.run(ctx, "following", runtime.RoleProjectors)
	if err != nil {
		return err
	}
	last, err := s.log.LastRevision(ctx)
	if err != nil {
		return err
	}
	if err := visible(ctx, engine, last); err != nil {
		return err
	}
	own := newShares(s.Workers, s.Aggregates)
	follow := contender{fmt.Sprintf("append until visible, at %.0f/s", s.Rate), 1, paced(s.Workers, func() float64 { return s.Rate }, func(ctx context.Context, w int) error {
		i := own.next(w)
		if err := s.append(ctx, i, 1); err != nil {
			return err
		}
		return visible(ctx, engine, s.heads[i].revision)
	})}
	results, err := s.alternate(ctx, follow)
	r.Results = append(r.Results, results...)
	return err
}

// visible returns when the engine's read model shows a revision.
func visible(ctx context.Context, e *runtime.Engine, revision es.Revision) error {
	_, at, err := e.Ask(ctx, tallyCount, tallyParams{}, revision)
	if err == nil && at < revision {
		err = fmt.Errorf("asked for revision %d, answered at %d", revision, at)
	}
	return err
}

// catchUp starts an engine without read models and waits until it has one of the whole log.
func (s *benchSite) catchUp(ctx context.Context, _ time.Duration) (done slice, err error) {
	dir, err := os.MkdirTemp(s.Dir, "projector-")
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	last, err := s.log.LastRevision(ctx)
	if err != nil {
		return done, err
	}
	begun := time.Now()
	engine, err := s.startEngine(ctx, filepath.Base(dir), runtime.RoleProjectors)
	if err != nil {
		return done, err
	}
	err = visible(ctx, engine, last)
	done = slice{operations: 1, took: time.Since(begun)}
	return done, errors.Join(err, engine.Close(ctx))
}

// bareLoop reads the whole log, into SQLite through the driver that package readmodel brings along. Only decoding and writing are timed, not what brings the messages.
func (s *benchSite) bareLoop(decode func(jetstream.Msg, uint64) (string, tallied, error)) func(context.Context, time.Duration) (slice, error) {
	return func(ctx context.Context, _ time.Duration) (done slice, err error) {
		dir, err := os.MkdirTemp(s.Dir, "bare-")
		if err != nil {
			return done, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "bare.db")+"?_journal_mode=WAL&_synchronous=NORMAL&_txlock=immediate")
		if err != nil {
			return done, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(ctx, tallySchema); err != nil {
			return done, err
		}
		consumer, err := s.js.OrderedConsumer(ctx, natsstore.EventsStream, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return done, err
		}
		messages, err := consumer.Messages()
		if err != nil {
			return done, err
		}
		defer messages.Stop()
		last, err := s.log.LastRevision(ctx)
		if err != nil {
			return done, err
		}
		done.operations = 1
		for left := int(last); left > 0 && err == nil; left -= bareBatch {
			batch := make([]jetstream.Msg, min(left, bareBatch))
			for i := range batch {
				if batch[i], err = messages.Next(jetstream.NextContext(ctx)); err != nil {
					return done, err
				}
			}
			begun := time.Now()
			err = upsert(ctx, db, batch, uint64(int(last)-left)+1, decode)
			done.took += time.Since(begun)
		}
		return done, err
	}
}

func upsert(ctx context.Context, db *sql.DB, batch []jetstream.Msg, first uint64, decode func(jetstream.Msg, uint64) (string, tallied, error)) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it finds nothing to do
	ctx = context.WithoutCancel(ctx)     // with one that can be cancelled the driver starts a goroutine a statement
	statement, err := tx.PrepareContext(ctx, tallyUpsert)
	if err != nil {
		return err
	}
	for i, m := range batch {
		id, e, err := decode(m, first+uint64(i))
		if err != nil {
			return err
		}
		if _, err := statement.ExecContext(ctx, id, e.Amount, e.Note); err != nil {
			return err
		}
	}
	return errors.Join(statement.Close(), tx.Commit()) //nolint:sqlclosecheck // closed here, before the commit
}
