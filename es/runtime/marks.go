package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/readmodel"
)

// A power cut in fast mode takes the end of each stream, and keeps what it likes of the consumers' acknowledgements:
// a trigger may count as handled while the transition or the answer that it caused is gone. So the engine writes down
// now and then how far its queues have come and how long the streams are that hold what they caused. On the next start
// the newest of these marks whose streams are still as long says from where on to hear the log again; handlers are
// idempotent, so hearing too much does no harm.
const (
	markEvery = 2 * time.Second
	marksKept = 30 // the server syncs every second in fast mode, so that the oldest stands whatever was lost
)

// mark says: whatever the queues over the log caused by handling it up to Floors stands in EVENTS up to Events and in
// SAGAS up to Sagas.
type mark struct {
	Floors map[string]uint64 `json:"floors"` // by queue
	Events uint64            `json:"events"`
	Sagas  uint64            `json:"sagas"`
}

func (m mark) equal(o mark) bool {
	return m.Events == o.Events && m.Sagas == o.Sagas && maps.Equal(m.Floors, o.Floors)
}

type marks struct {
	engine *Engine
	file   string
	list   []mark // oldest first
}

// startMarks sets the queues back to what surely stands, where this process embeds the server. It comes before
// anything is appended: a stream that has lost its end uses its numbers anew. In durable mode no new marks are needed.
func (e *Engine) startMarks(ctx context.Context) error {
	if e.cfg.Forget == nil {
		return nil
	}
	m := &marks{engine: e, file: filepath.Join(e.cfg.DataDir, "marks.json")}
	if err := m.restore(ctx); err != nil {
		return fmt.Errorf("how far the queues had come: %w", err)
	}
	if e.cfg.Durability == es.Durable {
		return nil
	}
	e.marks = m
	e.background.Go(func() {
		tick := time.NewTicker(markEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				e.fault("marks", e.marks.set(e.stopped))
			case <-e.stopped.Done():
				return
			}
		}
	})
	return nil
}

// stand makes what was found at the start, and what was set back to it, survive the next power cut. It comes before
// anything is appended: numbers that a stream lost are then used anew, and nothing may remain that means the old ones.
func (e *Engine) stand() error {
	if e.cfg.Sync == nil {
		return nil
	}
	return e.cfg.Sync()
}

func (m *marks) restore(ctx context.Context) error {
	data, err := os.ReadFile(m.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return es.Transient(err)
	}
	if err := json.Unmarshal(data, &m.list); err != nil {
		return es.Permanent(fmt.Errorf("%s: %w; remove the file to go on from what the server remembers", m.file, err))
	}
	now, err := m.look(ctx)
	if err != nil {
		return err
	}
	m.list = slices.DeleteFunc(m.list, func(x mark) bool { return x.Events > now.Events || x.Sagas > now.Sagas })
	var newest mark
	if len(m.list) > 0 {
		newest = m.list[len(m.list)-1]
	}
	for queue, floor := range now.Floors {
		stands := newest.Floors[queue] // 0 when the queue is newer than the mark
		if floor <= stands {
			continue
		}
		m.engine.cfg.Logger.Info("the log is heard again from where everything that came of it stands for sure", "queue", queue, "from", stands+1, "to", floor)
		if _, err := m.engine.js.ResetConsumerToSequence(ctx, natsstore.EventsStream, queue, stands+1); err != nil {
			return es.Transient(fmt.Errorf("queue %s: hear again from %d: %w", queue, stands+1, err))
		}
	}
	if m.engine.cfg.Durability == es.Durable {
		return os.Remove(m.file)
	}
	return m.write()
}

// set adds a mark.
func (m *marks) set(ctx context.Context) error {
	next, err := m.look(ctx)
	if err != nil {
		return err
	}
	if len(m.list) > 0 && next.equal(m.list[len(m.list)-1]) {
		return nil
	}
	m.list = append(m.list, next)
	if len(m.list) > marksKept {
		m.list = slices.Delete(m.list, 0, len(m.list)-marksKept)
	}
	return m.write()
}

// look makes a mark of now. The queues are asked before the streams are: what they have caused by then is in there.
func (m *marks) look(ctx context.Context) (mark, error) {
	now := mark{Floors: map[string]uint64{}}
	for _, queue := range Consumers(m.engine.cfg.Domain) {
		if queue == "commands" || strings.HasSuffix(queue, "-due") {
			continue // not over the log
		}
		c, err := m.engine.js.Consumer(ctx, natsstore.EventsStream, queue)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue
		}
		if err != nil {
			return mark{}, es.Transient(fmt.Errorf("queue %s: %w", queue, err))
		}
		now.Floors[queue] = c.CachedInfo().AckFloor.Stream
	}
	for stream, end := range map[string]*uint64{natsstore.EventsStream: &now.Events, natsstore.SagasStream: &now.Sagas} {
		s, err := m.engine.js.Stream(ctx, stream)
		if err != nil {
			return mark{}, es.Transient(fmt.Errorf("stream %s: %w", stream, err))
		}
		*end = s.CachedInfo().State.LastSeq
	}
	return now, nil
}

func (m *marks) write() error {
	data, err := json.Marshal(m.list)
	if err == nil {
		err = readmodel.WriteFile(m.file, data)
	}
	if err != nil {
		return es.Transient(fmt.Errorf("write how far the queues have come: %w", err))
	}
	return nil
}
