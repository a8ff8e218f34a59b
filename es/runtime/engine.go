package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

// Version is what the NATS service and the binary report.
const Version = "0.1.0"

// Engine is a running domain.
type Engine struct {
	cfg         Config
	node        string
	schemas     *schema.Registry
	conn        *nats.Conn
	tail        *nats.Conn // what projectors read comes on it
	js          jetstream.JetStream
	log         *natsstore.Log
	executor    *executor
	durability  *durability
	metrics     *metrics
	router      *message.Router
	routed      chan struct{} // closed when the router has ended
	caller      *caller
	asked       *asked
	ops         []*nats.Subscription
	answers     *answers          // of queries, while their read models stand
	queue       message.Publisher // queued commands out
	feed        *feed
	letters     *Letters
	deadLetters *deadLetters
	consumers   []*consumer
	acting      context.Context // ends when dead letters are no longer tried again
	stopActing  context.CancelFunc
	projections map[string]*projection
	marks       *marks   // nil: none are needed
	lock        *os.File // of the read models' directory
	fatal       chan error
	overviews   overviews
	looks       looks
	tracing     *tracing // nil: nobody wants spans
	background  sync.WaitGroup
	stop        context.CancelFunc
	stopped     context.Context
	closing     sync.Once

	mu     sync.Mutex
	faults map[string]error // by who has it; retried until it ends
}

// Start sets the streams up and takes on the configured roles. It returns when everything is running.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	schemas, err := schema.New(cfg.Domain)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, schemas: schemas,
		projections: map[string]*projection{}, faults: map[string]error{},
		fatal: make(chan error, 1), routed: make(chan struct{}),
		metrics: newMetrics(cfg.Metrics, cfg.Logger, cfg.Durability),
	}
	e.overviews.started = time.Now()
	e.looks.engine = e
	e.tracing = newTracing(cfg.Tracer)
	e.durability = &durability{mode: cfg.Durability, syncer: cfg.Syncer}
	e.durability.register(cfg.Metrics)
	e.stopped, e.stop = context.WithCancel(context.Background())
	e.acting, e.stopActing = context.WithCancel(e.stopped)
	if err := e.start(ctx); err != nil {
		closing, cancel := detached(ctx, 5*time.Second)
		defer cancel()
		return nil, errors.Join(err, e.Close(closing))
	}
	return e, nil
}

func (e *Engine) start(ctx context.Context) error {
	var err error
	if e.node, err = nodeID(e.cfg.DataDir); err != nil {
		return fmt.Errorf("data directory %s: %w", e.cfg.DataDir, err)
	}
	if e.conn, err = e.connect(); err != nil {
		return err
	}
	if e.js, err = jetstream.New(e.conn); err != nil {
		return err
	}
	if err := natsstore.SetUp(ctx, e.js, e.cfg.Replicas); err != nil {
		return err
	}
	if err := natsstore.Register(ctx, e.js, e.schemas.Document()); err != nil {
		return err
	}
	if e.log, err = natsstore.NewLog(e.conn, e.schemas, e.durability.logOptions()...); err != nil {
		return err
	}
	if err := e.startMarks(ctx); err != nil {
		return err
	}
	if err := e.log.Mend(ctx); err != nil {
		return err
	}
	e.feed = newFeed(e)
	e.executor = newExecutor(e.log, e.schemas, e.durability, e.metrics)
	e.executor.tracing = e.tracing
	e.startSnapshots()
	e.letters = NewLetters(e.js)
	e.deadLetters = &deadLetters{letters: e.letters, metrics: e.metrics}
	if err := e.openQueue(); err != nil {
		return err
	}
	if e.router, err = message.NewRouter(message.RouterConfig{CloseTimeout: 30 * time.Second}, newWatermillLogger(e.cfg.Logger)); err != nil {
		return err
	}
	if e.cfg.has(RoleProjectors) {
		if err := e.startProjections(ctx); err != nil {
			return err
		}
	}
	var sagas []*sagaRunner
	if e.cfg.has(RoleSagas) {
		for _, saga := range e.cfg.Domain.Sagas {
			s := &sagaRunner{engine: e, saga: saga, log: natsstore.NewSagaLog(e.js), timers: natsstore.NewTimers(e.js)}
			if err := s.confirm(ctx); err != nil {
				return fmt.Errorf("saga %s: %w", saga.Name(), err)
			}
			s.start()
			sagas = append(sagas, s)
		}
	}
	if err := e.stand(); err != nil {
		return err
	}
	if e.cfg.has(RoleGateways) {
		for _, g := range e.cfg.Domain.Gateways {
			e.startGateway(g)
		}
	}
	if e.cfg.has(RoleCommands) {
		e.startQueueIntake()
	}
	if err := e.run(ctx); err != nil {
		return err
	}
	if err := e.serveLetters(); err != nil {
		return fmt.Errorf("service %s>: %w", lettersSubject, err)
	}
	for _, s := range sagas {
		if err := e.serveSaga(s); err != nil {
			return fmt.Errorf("service %s>: %w", sagasSubject, err)
		}
	}
	e.watchSyncer()
	if e.cfg.has(RoleCommands) {
		if e.caller, err = startCaller(e, e.conn, Version); err != nil {
			return fmt.Errorf("service call.>: %w", err)
		}
	}
	if e.cfg.has(RoleProjectors) {
		if e.asked, err = startAsked(e, e.conn); err != nil {
			return fmt.Errorf("service queries.>: %w", err)
		}
	}
	e.metrics.begin(e.cfg.Domain)
	if err := e.cfg.Metrics.Register(&e.looks); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return e.conn.Flush()
}

// run starts the router and waits until its handlers are subscribed.
func (e *Engine) run(ctx context.Context) error {
	if len(e.router.Handlers()) == 0 {
		close(e.routed)
		return nil
	}
	failed := make(chan error, 1)
	go func() {
		defer close(e.routed)
		if err := e.router.Run(e.stopped); err != nil {
			failed <- err
			e.fail(fmt.Errorf("router: %w", err))
		}
	}()
	select {
	case <-e.router.Running():
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fail reports what must end the process; only the first is kept.
func (e *Engine) fail(err error) {
	select {
	case e.fatal <- err:
	default:
	}
}

// Close drains: no new calls, what is in work is finished, read models are closed. ctx bounds the wait.
func (e *Engine) Close(ctx context.Context) error {
	var errs []error
	e.closing.Do(func() {
		if e.caller != nil {
			errs = append(errs, e.caller.close(ctx))
		}
		if e.asked != nil {
			errs = append(errs, e.asked.close(ctx))
		}
		for _, sub := range e.ops {
			errs = append(errs, sub.Unsubscribe())
		}
		e.stopActing()
		if e.router != nil {
			errs = append(errs, e.drain(ctx))
		}
		if e.feed != nil {
			e.feed.close()
		}
		e.stop()
		e.looks.end()
		e.background.Wait()
		if e.marks != nil {
			errs = append(errs, e.marks.set(ctx))
		}
		for _, p := range e.projections {
			errs = append(errs, p.close())
		}
		if e.lock != nil {
			errs = append(errs, e.lock.Close())
		}
		if e.queue != nil {
			errs = append(errs, e.queue.Close())
		}
		if e.tail != nil {
			e.tail.Close()
		}
		if e.conn != nil {
			errs = append(errs, e.conn.FlushTimeout(time.Second))
			e.conn.Close()
		}
	})
	return errors.Join(errs...)
}

func (e *Engine) drain(ctx context.Context) error {
	if !e.router.IsRunning() {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- e.router.Close() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("handlers are still in work: %w", ctx.Err())
	}
}

// consume adds a durable queue in keyed lanes to the router. What is transient is handed out again in place, what
// is permanent goes to the dead letters, and neither stops the other keys.
func (e *Engine) consume(name, topic string, cfg LaneConfig, handler message.NoPublishHandlerFunc) {
	cfg.JetStream, cfg.Forget, cfg.AckWait, cfg.PinTTL = e.js, e.cfg.Forget, e.cfg.AckWait, e.cfg.PinTTL
	cfg.Fault = func(err error) { e.fault(name, err) }
	poison, err := middleware.PoisonQueueWithFilter(e.deadLetters, "deadletters."+cfg.Durable, func(err error) bool { return errors.Is(err, es.ErrPermanent) })
	if err != nil {
		panic(err) // only for an empty topic
	}
	lanes := NewLaneSubscriber(cfg)
	c := &consumer{
		engine: e, name: cfg.Durable, stream: cfg.Stream, keys: lanes.cfg.Keys, park: slices.Contains(e.cfg.Park, cfg.Durable),
		handle: judge(middleware.Recoverer(func(m *message.Message) ([]*message.Message, error) { return nil, handler(m) })),
	}
	e.consumers = append(e.consumers, c)
	h := e.router.AddConsumerHandler(name, topic, lanes, func(m *message.Message) error {
		_, err := c.live(m)
		return err
	})
	h.AddMiddleware(e.durability.middleware, poison)
}

// attemptsOfUnknown is how often what is neither transient nor permanent, a panic for one, is tried.
const attemptsOfUnknown = 5

// judge makes every error one of the three kinds, so that no message is tried for ever by accident.
func judge(h message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		out, err := h(m)
		if err == nil || errors.Is(err, es.ErrTransient) || errors.Is(err, es.ErrPermanent) || DeliveryFrom(m.Context()).Attempt < attemptsOfUnknown {
			return out, err
		}
		return out, es.Permanent(err)
	}
}

func (e *Engine) fault(who string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		delete(e.faults, who)
		return
	}
	e.faults[who] = err
	e.cfg.Logger.Warn("retrying", "part", who, "error", err)
}

// sweeping makes a TakeOver that repeats a sweep until it has gone through.
func (e *Engine) sweeping(who string, sweep func(context.Context) error) func(context.Context) {
	return func(ctx context.Context) {
		pause := newBackoff(100*time.Millisecond, 10*time.Second)
		for {
			err := sweep(ctx)
			if ctx.Err() != nil {
				return
			}
			e.fault(who+" sweep", err)
			if err == nil || !pause.wait(ctx) {
				return
			}
		}
	}
}

// Execute carries a command through: schema, load, decide, append. The Reply says what became of it.
func (e *Engine) Execute(ctx context.Context, r es.Request) es.Reply {
	if err := admit(&r, newID); err != nil {
		return invalidReply(r, err)
	}
	return e.executor.execute(ctx, r)
}

// executeOwn is Execute for what the engine itself sends; its ids are its own, and what may succeed later is an
// error, to be tried again, instead of a reply.
func (e *Engine) executeOwn(ctx context.Context, r es.Request) (es.Reply, error) {
	reply := e.executor.execute(ctx, r)
	switch {
	case reply.Outcome == es.Conflict && r.Expected != nil: // what was expected will not come back
		return reply, nil
	case reply.Outcome == es.UnknownOutcome, reply.Outcome == es.Conflict, reply.Outcome == es.Failed && reply.Error.Status == 503:
		return reply, es.Transient(errors.New(reply.Error.Message))
	}
	return reply, nil
}

// Schemas are the domain's events and commands.
func (e *Engine) Schemas() *schema.Registry { return e.schemas }

// Domain is what runs.
func (e *Engine) Domain() es.Domain { return e.cfg.Domain }

// Metrics are the engine's figures.
func (e *Engine) Metrics() *prometheus.Registry { return e.cfg.Metrics }

// Fatal delivers what must end the process.
func (e *Engine) Fatal() <-chan error { return e.fatal }

// LastRevision is the log's newest, from its leader.
func (e *Engine) LastRevision(ctx context.Context) (es.Revision, error) {
	return e.log.LastRevision(ctx)
}

// connect opens a connection whose errors go to the log: the client library would print them.
func (e *Engine) connect(more ...nats.Option) (*nats.Conn, error) {
	conn, err := e.cfg.Connect(more...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	conn.SetErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
		subject := ""
		if s != nil {
			subject = s.Subject
		}
		e.cfg.Logger.Warn("the NATS connection has met an error", "error", err, "subject", subject)
	})
	return conn, nil
}

// openQueue makes the publisher of queued commands, on a connection of its own since it closes it.
func (e *Engine) openQueue() error {
	conn, err := e.connect()
	if err != nil {
		return err
	}
	e.queue, err = wmnats.NewPublisherWithNatsConn(conn, wmnats.PublisherPublishConfig{
		Marshaler:         &wmnats.NATSMarshaler{},
		SubjectCalculator: wmnats.DefaultSubjectCalculator,
		JetStream:         wmnats.JetStreamConfig{TrackMsgId: true},
	}, watermill.NopLogger{})
	return err
}
