package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// loadedEach is how many aggregates there are of each size.
const loadedEach = 16

// benchLoad reads histories of three sizes, as a command does and also with the leader's word on which commit is the
// last, beside one batched direct get of the same messages, decoded by the log itself, and one whose bodies alone are
// decoded. What Load does more is the proof that nothing is missing.
func benchLoad(ctx context.Context, s *benchSite, r *BenchReport) error {
	var contenders []contender
	for n, size := range []int{10, 100, 1000} {
		first := n * loadedEach
		if s.Aggregates < first+loadedEach {
			return fmt.Errorf("loading needs at least %d aggregates", first+loadedEach)
		}
		_, err := crew(time.Now(), loadedEach, func(w int, _ func(time.Duration)) error {
			for range size {
				if err := s.append(ctx, first+w, 1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		readers := make([]*bareReader, s.Workers)
		for w := range readers {
			if readers[w], err = s.newReader(); err != nil {
				return err
			}
		}
		turn := make([]int, s.Workers)
		next := func(w int) es.Stream {
			turn[w]++
			return s.names[first+(w+turn[w])%loadedEach]
		}
		contenders = append(contenders,
			contender{fmt.Sprintf("load %d", size), size, closed(s.Workers, func(ctx context.Context, w int) error {
				h, err := s.log.Load(ctx, next(w), es.Range{MayLag: true})
				return expect(size, len(h.Events), err)
			})},
			contender{fmt.Sprintf("load %d, by the leader's word", size), size, closed(s.Workers, func(ctx context.Context, w int) error {
				h, err := s.log.Load(ctx, next(w), es.Range{})
				return expect(size, len(h.Events), err)
			})},
			contender{fmt.Sprintf("direct get %d, decoded", size), size, closed(s.Workers, func(ctx context.Context, w int) error {
				events := make([]es.Recorded, 0, size)
				err := readers[w].read(ctx, next(w), func(m *nats.Msg) error {
					sequence, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
					if err != nil {
						return err
					}
					commit, err := s.log.Decode(m.Header.Get("Nats-Subject"), m.Header, m.Data, sequence)
					events = append(events, commit...)
					return err
				})
				return expect(size, len(events), err)
			})},
			contender{fmt.Sprintf("direct get %d, bodies only", size), size, closed(s.Workers, func(ctx context.Context, w int) error {
				events := make([]tallied, 0, size)
				err := readers[w].read(ctx, next(w), func(m *nats.Msg) error {
					var e tallied
					err := json.Unmarshal(m.Data, &e)
					events = append(events, e)
					return err
				})
				return expect(size, len(events), err)
			})})
	}
	var err error
	if r.Results, err = s.alternate(ctx, contenders...); err != nil {
		return err
	}
	for i := 0; i < len(r.Results); i += 4 {
		load, leaders, decoded, bodies := r.Results[i], r.Results[i+1], r.Results[i+2], r.Results[i+3]
		r.Ratios = append(r.Ratios, timeRatio(load, decoded), timeRatio(leaders, decoded), timeRatio(load, bodies))
	}
	return nil
}

func expect(want, found int, err error) error {
	if err == nil && want != found {
		return fmt.Errorf("%d events were stored, %d were read", want, found)
	}
	return err
}

// bareReader reads a subject's messages by one batched direct get, and proves nothing.
type bareReader struct {
	conn  *nats.Conn
	inbox string
	in    chan *nats.Msg
}

func (s *benchSite) newReader() (*bareReader, error) {
	r := &bareReader{conn: s.conn, inbox: s.conn.NewInbox(), in: make(chan *nats.Msg, 2048)}
	sub, err := s.conn.ChanSubscribe(r.inbox, r.in)
	if err != nil {
		return nil, err
	}
	s.later(func() error {
		if err := sub.Unsubscribe(); !errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		return nil
	})
	return r, nil
}

func (r *bareReader) read(ctx context.Context, stream es.Stream, each func(*nats.Msg) error) error {
	body := `{"batch":1000,"seq":1,"next_by_subj":"` + natsstore.Subject(stream) + `"}`
	if err := r.conn.PublishRequest("$JS.API.DIRECT.GET."+natsstore.EventsStream, r.inbox, []byte(body)); err != nil {
		return err
	}
	for {
		select {
		case m := <-r.in:
			if m.Header.Get("Nats-Subject") == "" {
				return nil // the end of the batch
			}
			if err := each(m); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
