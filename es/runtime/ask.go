package runtime

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// cachedAnswers bounds the answers kept; those least used go first.
const cachedAnswers = 4096

// answers keeps what queries were answered, for as long as the model stands still: a commit that handled an event
// changes the model's generation, and with it the name of every answer.
type answers struct {
	cache        *otter.Cache[answerKey, any]
	hits, misses prometheus.Counter
}

type answerKey struct {
	query      string
	params     any // comparable
	model      *readmodel.Model
	generation uint64
}

func newAnswers(r *prometheus.Registry) *answers {
	a := &answers{
		cache:  otter.Must(&otter.Options[answerKey, any]{MaximumSize: cachedAnswers}),
		hits:   prometheus.NewCounter(prometheus.CounterOpts{Name: "millstream_query_cache_hits_total", Help: "Queries answered without asking the read model, which had not changed."}),
		misses: prometheus.NewCounter(prometheus.CounterOpts{Name: "millstream_query_cache_misses_total", Help: "Queries that asked the read model."}),
	}
	r.MustRegister(a.hits, a.misses)
	return a
}

// of answers from what is kept, or asks. Answers are shared: nobody may change one.
func (a *answers) of(name string, params any, m *readmodel.Model, ask func() (any, error)) (any, error) {
	if params != nil && !reflect.ValueOf(params).Comparable() {
		a.misses.Inc()
		return ask()
	}
	// The generation is read before the question is put: an answer may be newer than its name, never older.
	key := answerKey{name, params, m, m.Generation()}
	if answer, ok := a.cache.GetIfPresent(key); ok {
		a.hits.Inc()
		return answer, nil
	}
	a.misses.Inc()
	answer, err := ask()
	if err == nil {
		a.cache.Set(key, answer)
	}
	return answer, err
}

// Ask puts a question to a read model, once it has reached revision min. at is a revision that the answer shows at
// least; the answer is shared with others and must not be changed. Errors: what the query rejects; transient when the
// read model does not get there before ctx ends; a BuildingError when no model can answer yet.
func (e *Engine) Ask(ctx context.Context, q es.QueryDef, params any, min es.Revision) (answer any, at es.Revision, err error) {
	p := e.projections[q.ProjectorName()]
	if p == nil {
		return nil, 0, es.Transient(fmt.Errorf("query %s needs the projectors' role, which this process does not have", q.QueryName()))
	}
	m, err := p.at(ctx, min)
	if err != nil {
		return nil, 0, err
	}
	at, _ = m.Checkpoint()
	answer, err = e.answers.of(q.QueryName(), params, m, func() (any, error) { return q.AskAny(ctx, m.DB(), params) })
	if err != nil && m != p.model && unforeseen(err) {
		// The question is the new code's and the tables are the old one's; or the old model was just replaced.
		return nil, 0, p.building(err)
	}
	return answer, at, err
}

// unforeseen is an error that neither the query nor the engine meant for its caller.
func unforeseen(err error) bool {
	var invalid *es.InvalidError
	return !errors.Is(err, es.ErrRejected) && !errors.Is(err, es.ErrTransient) && !errors.As(err, &invalid)
}
