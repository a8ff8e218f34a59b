package runtime

import (
	"context"
	"encoding/json"
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
	engine  *Engine
	conn    *nats.Conn
	service micro.Service
	unknown *nats.Subscription
	work    sync.WaitGroup
	slots   chan struct{}
}

func startAsked(e *Engine, conn *nats.Conn) (*asked, error) {
	a := &asked{engine: e, conn: conn, slots: make(chan struct{}, callLimit)}
	service, err := micro.AddService(conn, micro.Config{
		Name: e.cfg.Domain.Name + "-queries", Version: Version, QueueGroup: CallQueue,
		Description: "queries: queries.<name> with the parameters as JSON; " + HeaderRevision + " demands a revision at least",
	})
	if err != nil {
		return nil, err
	}
	a.service = service
	for _, q := range e.schemas.Queries() {
		err := service.AddEndpoint(q.QueryName(), micro.HandlerFunc(func(r micro.Request) { a.ask(r, q) }),
			micro.WithEndpointSubject("queries."+q.QueryName()),
			micro.WithEndpointMetadata(map[string]string{"schema": string(q.Schema), "summary": q.QuerySummary(), "readModel": q.ProjectorName()}))
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", q.QueryName(), err)
		}
	}
	// What no endpoint answers is answered here, so that a slip of the pen is not met with silence.
	a.unknown, err = conn.QueueSubscribe("queries.>", CallQueue+"-unknown", a.stray)
	return a, err
}

func (a *asked) ask(r micro.Request, q *schema.Query) {
	a.slots <- struct{}{}
	a.work.Go(func() {
		defer func() { <-a.slots }()
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		answer, at, err := a.answer(ctx, q, nats.Header(r.Headers()), r.Data())
		if err == nil {
			header := micro.Headers{HeaderRevision: {strconv.FormatUint(uint64(at), 10)}}
			if err = r.RespondJSON(answer, micro.WithHeaders(header)); err != nil {
				a.engine.metrics.failure(fmt.Errorf("answer %s: %w", r.Subject(), err))
			}
			return
		}
		p := Problem(err)
		if p.Status >= 500 {
			a.engine.metrics.failure(fmt.Errorf("query %s: %w", q.QueryName(), err))
		}
		body, err := json.Marshal(p)
		if err == nil {
			err = r.Error(strconv.Itoa(p.Status), p.Message, body)
		}
		if err != nil {
			a.engine.metrics.failure(fmt.Errorf("answer %s: %w", r.Subject(), err))
		}
	})
}

func (a *asked) answer(ctx context.Context, q *schema.Query, header nats.Header, data []byte) (any, es.Revision, error) {
	if a.engine.cfg.Authorize != nil {
		if err := a.engine.cfg.Authorize(a.engine.userOf(header), "query.ask", q.QueryName()); err != nil {
			return nil, 0, err
		}
	}
	var least uint64
	if v := header.Get(HeaderRevision); v != "" {
		var err error
		if least, err = strconv.ParseUint(v, 10, 64); err != nil {
			return nil, 0, &es.InvalidError{Code: "bad_header", Message: fmt.Sprintf("header %s must be a revision such as 17, not %q", HeaderRevision, v)}
		}
	}
	params, err := q.Decode(data)
	if err != nil {
		return nil, 0, err
	}
	return a.engine.Ask(ctx, q.QueryDef, params, es.Revision(least))
}

// stray answers queries that no endpoint hears.
func (a *asked) stray(m *nats.Msg) {
	_, err := a.engine.schemas.Query(strings.TrimPrefix(m.Subject, "queries."))
	if err == nil || m.Reply == "" {
		return // an endpoint's own, or nobody waits
	}
	p := Problem(err)
	body, err := json.Marshal(p)
	if err == nil {
		answer := nats.NewMsg(m.Reply)
		answer.Data = body
		answer.Header.Set(micro.ErrorHeader, p.Message)
		answer.Header.Set(micro.ErrorCodeHeader, strconv.Itoa(p.Status))
		err = a.conn.PublishMsg(answer)
	}
	if err != nil {
		a.engine.metrics.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
	}
}

// close stops hearing questions, then waits for those in work.
func (a *asked) close(ctx context.Context) error {
	return closeService(ctx, a.unknown, a.service, &a.work)
}
