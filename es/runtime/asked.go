package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// HeaderRevision is, on a query, the revision that its answer must show at least; on an answer, the one that it shows.
const HeaderRevision = "Millstream-Revision"

// askTimeout bounds how long an answer may take, the wait for the demanded revision included.
const askTimeout = 5 * time.Second

// asked answers queries.<name> as a NATS service, one endpoint a query: a JSON body with the parameters in, the answer
// or an es.Problem out. Every process with read models takes part.
type asked struct {
	engine    *Engine
	service   *discovery
	endpoints map[string]*micro.EndpointStats // by the query's name

	questions *nats.Subscription
	drained   chan struct{} // the subscription is
	work      sync.WaitGroup
	slots     chan struct{}
}

func startAsked(e *Engine, conn *nats.Conn) (*asked, error) {
	a := &asked{
		engine: e,
		service: newDiscovery(e.cfg.Domain.Name+"-queries", Version,
			"queries: queries.<name> with the parameters as JSON; "+HeaderRevision+" demands a revision at least", e.metrics.failure),
		endpoints: map[string]*micro.EndpointStats{},
		drained:   make(chan struct{}), slots: make(chan struct{}, callLimit),
	}
	for _, q := range e.schemas.Queries() {
		a.endpoints[q.QueryName()] = a.service.add(micro.EndpointInfo{
			Name: q.QueryName(), Subject: "queries." + q.QueryName(), QueueGroup: CallQueue,
			Metadata: map[string]string{"schema": string(q.Schema), "summary": q.QuerySummary(), "readModel": q.ProjectorName()},
		})
	}
	// One subscription hears all, also what is misspelt, so that a slip of the pen is not met with silence.
	var err error
	if a.questions, err = conn.QueueSubscribe("queries.>", CallQueue, a.hear); err != nil {
		return nil, err
	}
	a.questions.SetClosedHandler(func(string) { close(a.drained) })
	return a, a.service.listen(conn)
}

func (a *asked) hear(m *nats.Msg) {
	a.slots <- struct{}{}
	a.work.Go(func() {
		defer func() { <-a.slots }()
		began, refused := time.Now(), ""
		name := strings.TrimPrefix(m.Subject, "queries.")
		reply, err := a.reply(m, name)
		if err != nil {
			p := Problem(err)
			if p.Status >= 500 {
				a.engine.metrics.failure(fmt.Errorf("query %s: %w", name, err))
			}
			refused = strconv.Itoa(p.Status) + ":" + p.Message
			reply, err = refusal(p)
		}
		if err == nil && m.Reply != "" {
			err = m.RespondMsg(reply)
		}
		if err != nil {
			a.engine.metrics.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
		}
		if endpoint := a.endpoints[name]; endpoint != nil {
			a.service.count(endpoint, time.Since(began), refused)
		}
	})
}

func (a *asked) reply(m *nats.Msg, name string) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	q, err := a.engine.schemas.Query(name)
	if err != nil {
		return nil, err
	}
	answer, at, err := a.answer(ctx, q, m)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(answer)
	return &nats.Msg{Data: body, Header: nats.Header{HeaderRevision: {strconv.FormatUint(uint64(at), 10)}}}, err
}

// refusal is a problem as an answer.
func refusal(p *es.Problem) (*nats.Msg, error) {
	body, err := json.Marshal(p)
	return &nats.Msg{Data: body, Header: nats.Header{micro.ErrorHeader: {p.Message}, micro.ErrorCodeHeader: {strconv.Itoa(p.Status)}}}, err
}

func (a *asked) answer(ctx context.Context, q *schema.Query, m *nats.Msg) (any, es.Revision, error) {
	if a.engine.cfg.Authorize != nil {
		sender, err := a.engine.senderOf(m)
		if err == nil {
			err = a.engine.cfg.Authorize(sender, "query.ask", q.QueryName())
		}
		if err != nil {
			return nil, 0, err
		}
	}
	var least uint64
	if v := m.Header.Get(HeaderRevision); v != "" {
		var err error
		if least, err = strconv.ParseUint(v, 10, 64); err != nil {
			return nil, 0, &es.InvalidError{Code: "bad_header", Message: fmt.Sprintf("header %s must be a revision such as 17, not %q", HeaderRevision, v)}
		}
	}
	params, err := q.Decode(m.Data)
	if err != nil {
		return nil, 0, err
	}
	return a.engine.Ask(ctx, q.QueryDef, params, es.Revision(least))
}

// close stops hearing questions, then waits for those in work.
func (a *asked) close(ctx context.Context) error {
	return errors.Join(a.questions.Drain(), a.service.close(), answered(ctx, func() {
		<-a.drained
		a.work.Wait()
	}))
}
