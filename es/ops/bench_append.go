package ops

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// benchAppend writes to the log and through the engine, beside publishing messages of the same bytes, with the same
// guard, into a bare stream: in fast mode of the same server; in durable mode of one that syncs always.
func benchAppend(ctx context.Context, s *benchSite, r *BenchReport) error {
	template, config, err := s.template(ctx)
	if err != nil {
		return err
	}
	bareOn := s.js
	if s.Mode == es.Durable {
		if bareOn, err = s.startSyncing(); err != nil {
			return err
		}
	}
	bare, err := openBare(ctx, bareOn, config, template, s.Events, s.names)
	if err != nil {
		return err
	}
	if err := s.warmUp(ctx); err != nil {
		return err
	}
	contenders := []contender{s.appending(), s.executing(), bare.publishing(s.Workers), bare.publishingAsync(s.Workers)}
	if s.Postgres != "" {
		pg, err := openPostgres(ctx, s.Postgres, s.Workers, s.Events, s.names)
		if err != nil {
			return err
		}
		s.later(pg.close)
		contenders = append(contenders, pg.appending(s.Workers))
	}
	if r.Results, err = s.alternate(ctx, contenders...); err != nil {
		return err
	}
	for _, ours := range r.Results[:2] {
		for _, theirs := range r.Results[2:] {
			r.Ratios = append(r.Ratios, throughput(ours, theirs))
		}
	}
	return nil
}

// startSyncing starts a server that syncs before each acknowledgement.
func (s *benchSite) startSyncing() (jetstream.JetStream, error) {
	server, err := natsstore.StartServer(natsstore.ServerConfig{Conf: s.Conf, Name: "always", DataDir: filepath.Join(s.Dir, "always"), Logger: s.Logger})
	if err != nil {
		return nil, err
	}
	s.later(func() error { server.Shutdown(); return nil })
	_, js, err := s.connect(server)
	return js, err
}

// warmUp makes the engine hold every aggregate of its commands.
func (s *benchSite) warmUp(ctx context.Context) error {
	own := newShares(s.Workers, s.Aggregates)
	_, err := crew(time.Now(), s.Workers, func(w int, _ func(time.Duration)) error {
		for n := w; n < s.Aggregates; n += s.Workers {
			if err := s.execute(ctx, own.next(w)); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return err
}

func (s *benchSite) appending() contender {
	own := newShares(s.Workers, s.Aggregates)
	return contender{"log append", s.Events, closed(s.Workers, func(ctx context.Context, w int) error {
		return s.append(ctx, own.next(w), s.Events)
	})}
}

func (s *benchSite) executing() contender {
	own := newShares(s.Workers, s.Aggregates)
	return contender{"engine execute", s.Events, closed(s.Workers, func(ctx context.Context, w int) error {
		return s.execute(ctx, own.next(w))
	})}
}

func (s *benchSite) execute(ctx context.Context, i int) error {
	reply := s.engine.Execute(ctx, s.command(i))
	if reply.Outcome != es.Accepted {
		return fmt.Errorf("command on %s: %s: %+v", reply.Stream, reply.Outcome, reply.Error)
	}
	return nil
}

// publishing waits for each acknowledgement before the next message.
func (b *bareStream) publishing(workers int) contender {
	return contender{"raw publish", b.events, closed(workers, b.inTurn(workers))}
}

// inTurn lets each worker publish to its own subjects, one after the other.
func (b *bareStream) inTurn(workers int) func(ctx context.Context, worker int) error {
	own := newShares(workers, len(b.subjects))
	return func(ctx context.Context, w int) error { return b.publish(ctx, own.next(w)) }
}

func (b *bareStream) publish(ctx context.Context, i int) error {
	ack, err := b.js.PublishMsg(ctx, b.message(i))
	if err != nil {
		return err
	}
	b.last[i] = ack.Sequence
	return nil
}

// fill publishes to each subject once.
func (b *bareStream) fill(ctx context.Context, workers int) error {
	publish := b.inTurn(workers)
	_, err := crew(time.Now(), workers, func(w int, _ func(time.Duration)) error {
		for n := w; n < len(b.subjects); n += workers {
			if err := publish(ctx, w); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return err
}

// publishingAsync does the same with nats.go's futures, which have a cheaper way for answers.
func (b *bareStream) publishingAsync(workers int) contender {
	own := newShares(workers, len(b.subjects))
	return contender{"raw publish, futures", b.events, closed(workers, func(ctx context.Context, w int) error {
		i := own.next(w)
		future, err := b.js.PublishMsgAsync(b.message(i))
		if err != nil {
			return err
		}
		select {
		case ack := <-future.Ok():
			b.last[i] = ack.Sequence
			return nil
		case err := <-future.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})}
}

// message has the template's bytes and the guard of its subject.
func (b *bareStream) message(i int) *nats.Msg {
	m := &nats.Msg{Subject: b.subjects[i], Header: make(nats.Header, len(b.template.Header)+1), Data: b.template.Data}
	for name, values := range b.template.Header {
		m.Header[name] = values
	}
	m.Header[natsstore.ExpectedRevision] = []string{strconv.FormatUint(b.last[i], 10)}
	return m
}
