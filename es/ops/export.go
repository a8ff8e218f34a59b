package ops

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// ExportConfig is what Export needs.
type ExportConfig struct {
	Log       *natsstore.Log
	JetStream jetstream.JetStream
	Domain    es.Domain
	Category  string                       // only this one; "" = all
	UpTo      es.Revision                  // only commits up to this one; 0: all
	Progress  func(done, last es.Revision) // nil: nobody looks
}

// Export writes the log, or a part of it, as an archive and returns its proof. The system may be running: what is
// stored after Export has begun may be left out. Nothing is deleted. ErrCorrupt: a commit or a version is missing.
func Export(ctx context.Context, w io.Writer, c ExportConfig) (Proof, error) {
	z, err := zstd.NewWriter(w)
	if err != nil {
		return Proof{}, es.Permanent(err)
	}
	x := &exporter{ExportConfig: c, counted: newCounted(), out: bufio.NewWriterSize(z, 256<<10)}
	x.Proof.Category, x.Whole = c.Category, c.Category == "" && c.UpTo == 0
	if err := x.write(ctx); err != nil {
		return Proof{}, errors.Join(err, z.Close())
	}
	proof := x.proof()
	data, err := json.Marshal(proof)
	if err == nil {
		err = x.put(entry{ID: "proof/" + proof.SHA256, Source: "/archive", Type: proofType, Data: data})
	}
	return proof, errors.Join(err, x.out.Flush(), z.Close())
}

type exporter struct {
	ExportConfig
	*counted
	out *bufio.Writer
}

// write puts out everything but the proof. How far gateways and sagas are is read first: neither may be ahead of the
// events.
func (x *exporter) write(ctx context.Context) error {
	if x.Whole {
		if err := x.gateways(ctx); err != nil {
			return err
		}
		if err := x.sagas(ctx); err != nil {
			return err
		}
	}
	return x.Log.Each(ctx, natsstore.Span{Category: x.ExportConfig.Category, UpTo: x.UpTo}, func(s natsstore.Stored, last es.Revision) error {
		if x.First == 0 {
			x.First = s.Revision
		}
		x.Last = s.Revision
		events, err := s.CloudEvents()
		if err != nil {
			return err
		}
		for _, e := range events {
			if !x.Whole {
				e.Together = "" // what it was stored together with may be missing
			}
			if err := x.put(e); err != nil {
				return err
			}
			if err := x.event(e); err != nil {
				return err
			}
		}
		if x.Progress != nil {
			x.Progress(s.Revision, last)
		}
		return nil
	})
}

// gateways notes what each has delivered, so that a restored log does not have it delivered again.
func (x *exporter) gateways(ctx context.Context) error {
	x.Gateways = map[string]es.Revision{}
	for _, g := range x.Domain.Gateways {
		queue := gatewayQueue(g.Name)
		consumer, err := x.JetStream.Consumer(ctx, natsstore.EventsStream, queue)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			x.Gateways[queue] = 0
			continue
		}
		if err != nil {
			return es.Transient(fmt.Errorf("gateway %s: %w", g.Name, err))
		}
		x.Gateways[queue] = es.Revision(consumer.CachedInfo().AckFloor.Stream)
	}
	return nil
}

func (x *exporter) sagas(ctx context.Context) error {
	log := natsstore.NewSagaLog(x.JetStream)
	for _, saga := range x.Domain.Sagas {
		err := log.History(ctx, saga.Name(), "*", func(s natsstore.SagaEntry) error {
			process := saga.Name() + "/" + s.Key
			var t transition
			if err := json.Unmarshal(s.Data, &t); err != nil {
				return es.Permanent(fmt.Errorf("saga %s: stored transition at %d: %w", process, s.Sequence, err))
			}
			x.Transitions++
			return x.put(entry{ID: fmt.Sprintf("%s/%d", process, t.Number), Source: "/saga/" + process, Type: transitionType, Subject: process, Data: s.Data})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// put writes a line and, but for the proof itself, counts it in.
func (x *exporter) put(line any) error {
	e, other := line.(entry)
	if other {
		e.SpecVersion, e.DataContentType = "1.0", "application/json"
		line = e
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		return es.Permanent(err)
	}
	if e.Type != proofType {
		x.line(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	}
	_, err := x.out.Write(text.Bytes())
	return err
}

func gatewayQueue(name string) string { return "gateway-" + name }
func sagaQueue(name string) string    { return "saga-" + name }
