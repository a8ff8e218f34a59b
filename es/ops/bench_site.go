package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

// The domain that is measured: tallies that are added to. An event is about as large as one of an order.

type tallyEvent interface {
	es.Event
	tally()
}

type tallied struct {
	Amount   int    `json:"amount"`
	Currency string `json:"currency"`
	Note     string `json:"note"`
}

func (tallied) EventType() string { return "Tallied" }
func (tallied) tally()            {}

type addTally struct {
	Amount int    `json:"amount" jsonschema:"minimum=1,example=1"`
	Note   string `json:"note" jsonschema:"maxLength=200,example=one"`
	Events int    `json:"events" jsonschema:"minimum=1,maximum=1000,example=1"` // to raise
}

func (addTally) CommandType() string { return "AddTally" }

type tallyState struct{ Count, Sum int }

func (s tallyState) Decide(c addTally, _ es.Meta) ([]tallyEvent, error) {
	events := make([]tallyEvent, c.Events)
	for i := range events {
		events[i] = tallied{c.Amount, "USD", c.Note}
	}
	return events, nil
}

func (s tallyState) Evolve(e tallyEvent) tallyState {
	return tallyState{s.Count + 1, s.Sum + e.(tallied).Amount}
}

var tallies = es.Define[tallyState]("tally", addTally{}).In("tallies")

const (
	tallySchema = `CREATE TABLE tallies (id TEXT PRIMARY KEY, count INTEGER NOT NULL, sum INTEGER NOT NULL, note TEXT NOT NULL) STRICT`
	tallyUpsert = `INSERT INTO tallies VALUES (?, 1, ?, ?) ON CONFLICT (id) DO UPDATE SET count = count + 1, sum = sum + excluded.sum, note = excluded.note`
	tallyNote   = "a line of text as long as the name of a product or the street of an address"
)

type tallyParams struct{}

var tallyCount = es.Query[tallyParams, int]{
	Name: "tallies", Path: "/tallies", Summary: "How many", Projector: "tallies",
	Ask: func(ctx context.Context, db es.Reader, _ tallyParams) (n int, err error) {
		return n, db.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM tallies LIMIT 1)`).Scan(&n)
	},
}

func benchDomain() es.Domain {
	return es.Domain{
		Name:       "bench",
		Events:     []es.EventDef{es.EventOf[tallied](1)},
		Aggregates: []es.Aggregate{tallies},
		Projectors: []es.Projector{{
			Name: "tallies", Version: 1, Schema: tallySchema,
			Interest: es.Interest{Handles: []es.Event{tallied{}}},
			Apply: func(ctx context.Context, tx es.Tx, r es.Recorded) error {
				e := r.Event.(tallied)
				_, err := tx.ExecContext(ctx, tallyUpsert, r.Stream.ID, e.Amount, e.Note)
				return err
			},
		}},
		Queries: []es.QueryDef{tallyCount},
	}
}

// benchSite is a server with an engine on it, and a bare stream that is configured as the log is.
type benchSite struct {
	BenchConfig
	server *natsstore.Server
	engine *runtime.Engine
	log    *natsstore.Log
	conn   *nats.Conn
	js     jetstream.JetStream
	names  []es.Stream // of the aggregates
	heads  []head      // beside names; each is used by one worker at a time
	opened []func() error
}

// head is where an aggregate of the log stands.
type head struct {
	revision es.Revision
	version  uint64
}

func openSite(ctx context.Context, c BenchConfig) (s *benchSite, err error) {
	s = &benchSite{BenchConfig: c, names: make([]es.Stream, c.Aggregates), heads: make([]head, c.Aggregates)}
	for i := range s.names {
		s.names[i] = tallies.Stream(fmt.Sprintf("t-%07d", i))
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// start starts the server, the engine with its commands' role, and a log on a connection of its own.
func (s *benchSite) start(ctx context.Context) (err error) {
	s.server, err = natsstore.StartServer(natsstore.ServerConfig{
		Conf: s.Conf, Name: "bench", DataDir: filepath.Join(s.Dir, "nats"),
		Fast: s.Mode == es.Fast, GroupSync: s.Mode == es.Durable, Logger: s.Logger,
	})
	if err != nil {
		return err
	}
	s.later(func() error { s.server.Shutdown(); return nil })
	if s.engine, err = s.run(ctx, "engine", runtime.RoleCommands); err != nil {
		return err
	}
	if s.conn, s.js, err = s.connect(s.server); err != nil {
		return err
	}
	if s.log, err = natsstore.NewLog(s.conn, s.engine.Schemas()); err != nil {
		return err
	}
	return nil
}

// run starts an engine, which ends with the site.
func (s *benchSite) run(ctx context.Context, name string, roles ...runtime.Role) (*runtime.Engine, error) {
	e, err := s.startEngine(ctx, name, roles...)
	if err != nil {
		return nil, err
	}
	s.later(func() error { return e.Close(context.WithoutCancel(ctx)) })
	return e, nil
}

func (s *benchSite) startEngine(ctx context.Context, name string, roles ...runtime.Role) (*runtime.Engine, error) {
	return runtime.Start(ctx, runtime.Config{
		Domain: benchDomain(), Connect: s.server.Connect, DataDir: filepath.Join(s.Dir, name), Roles: roles,
		Durability: s.Mode, Syncer: s.server.Syncer(), Dev: true, Logger: s.Logger,
	})
}

// connect opens a connection, which ends with the site.
func (s *benchSite) connect(server *natsstore.Server) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := server.Connect()
	if err != nil {
		return nil, nil, err
	}
	s.later(func() error { nc.Close(); return nil })
	js, err := jetstream.New(nc)
	return nc, js, err
}

// later keeps what close has to do, the last first.
func (s *benchSite) later(do func() error) { s.opened = append(s.opened, do) }

func (s *benchSite) close() error {
	var errs []error
	for i := len(s.opened) - 1; i >= 0; i-- {
		errs = append(errs, s.opened[i]())
	}
	s.opened = nil
	return errors.Join(errs...)
}

// shares deals aggregates out to workers, so that no two meet at one: worker w has those whose number leaves it as the
// remainder. next moves on to the worker's next one.
type shares struct {
	at         []int
	aggregates int
}

func newShares(workers, aggregates int) *shares {
	h := &shares{make([]int, workers), aggregates}
	for w := range h.at {
		h.at[w] = w
	}
	return h
}

func (h *shares) next(worker int) int {
	i := h.at[worker]
	if h.at[worker] += len(h.at); h.at[worker] >= h.aggregates {
		h.at[worker] = worker
	}
	return i
}

// append stores a commit of the next events of an aggregate. In durable mode it waits for the disk, as the engine does.
func (s *benchSite) append(ctx context.Context, i, events int) error {
	h := &s.heads[i]
	// As long as the ids that the engine makes.
	id := fmt.Sprintf("b-%07d-%025d", i, h.version)
	meta := es.Meta{Stream: s.names[i], CommandID: id, User: "bench", Correlation: id, RequestHash: "0123456789abcdef0123456789abcdef", Time: time.Now()}
	c := es.Commit{Stream: s.names[i], Expected: h.revision, Events: make([]es.Recorded, events)}
	for n := range c.Events {
		c.Events[n] = es.Recorded{Event: tallied{7, "USD", tallyNote}, Meta: meta, ID: id + "/" + strconv.Itoa(n+1), Version: h.version + uint64(n) + 1}
	}
	turn := s.server.Syncer().Turn()
	defer turn.End()
	turn.Begin()
	revision, err := s.log.Append(ctx, c)
	if err != nil {
		return err
	}
	h.revision, h.version = revision, h.version+uint64(events)
	return turn.Wait(ctx)
}

// fill appends so many events, one a commit, spread over the first aggregates.
func (s *benchSite) fill(ctx context.Context, events, aggregates int) error {
	workers := min(256, aggregates)
	own := newShares(workers, aggregates)
	_, err := crew(time.Now(), workers, func(w int, _ func(time.Duration)) error {
		for n := w; n < events; n += workers {
			if err := s.append(ctx, own.next(w), 1); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return err
}

// command adds to a tally, by the engine; its tallies are not those that append writes to.
func (s *benchSite) command(i int) es.Request {
	body := fmt.Sprintf(`{"amount":7,"note":%q,"events":%d}`, tallyNote, s.Events)
	return es.Request{Type: addTally{}.CommandType(), Data: json.RawMessage(body), Meta: es.Meta{Stream: tallies.Stream(fmt.Sprintf("c-%07d", i)), User: "bench"}}
}

// bareStream is configured as the log and takes messages of the same bytes, without an engine.
type bareStream struct {
	js       jetstream.JetStream
	events   int
	template *nats.Msg
	last     []uint64 // sequence of each subject's last message
	subjects []string
}

const bareName, bareSubject = "BYPASS", "bypass." // as long as the log's

// openBare makes the stream on a server. template is a stored message of the log.
func openBare(ctx context.Context, js jetstream.JetStream, like jetstream.StreamConfig, template *nats.Msg, events int, names []es.Stream) (*bareStream, error) {
	like.Name, like.Subjects = bareName, []string{bareSubject + "*.*"}
	if _, err := js.CreateStream(ctx, like); err != nil {
		return nil, fmt.Errorf("stream %s: %w", bareName, err)
	}
	b := &bareStream{js: js, events: events, template: template, last: make([]uint64, len(names)), subjects: make([]string, len(names))}
	for i, n := range names {
		b.subjects[i] = bareSubject + n.Category + "." + n.ID
	}
	return b, nil
}

// template appends one commit and reads it as it is stored.
func (s *benchSite) template(ctx context.Context) (*nats.Msg, jetstream.StreamConfig, error) {
	if err := s.append(ctx, 0, s.Events); err != nil {
		return nil, jetstream.StreamConfig{}, err
	}
	stream, err := s.js.Stream(ctx, natsstore.EventsStream)
	if err != nil {
		return nil, jetstream.StreamConfig{}, err
	}
	stored, err := stream.GetMsg(ctx, uint64(s.heads[0].revision))
	if err != nil {
		return nil, jetstream.StreamConfig{}, err
	}
	return &nats.Msg{Header: stored.Header, Data: stored.Data}, stream.CachedInfo().Config, nil
}
