package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// opsSubject and a verb is where nodes hear what an operator wants of their read models. Only the engine's account has
// it.
const opsSubject = "ops.projections."

// The verbs. Every node with the projectors' role answers, but only one a query.
const (
	verbInfo     = "info"
	verbPause    = "pause"
	verbResume   = "resume"
	verbRollback = "rollback"
	verbRebuild  = "rebuild"
	verbVerify   = "verify"
	verbQuery    = "query"
)

// ProjectionRequest is what an operator wants of a projector.
type ProjectionRequest struct {
	Name     string      `json:"name,omitempty"` // "": all, where that makes sense
	Node     string      `json:"node,omitempty"` // "": every one
	By       string      `json:"by,omitempty"`   // who asks: recorded as claimed
	Reason   string      `json:"reason,omitempty"`
	Skip     es.Revision `json:"skip,omitempty"`
	Question string      `json:"question,omitempty"` // SQL
	Rows     int         `json:"rows,omitempty"`     // at most so many
}

// opsStep is one line of a node's answer. While something takes long, nodes say how far it is every replayPulse.
type opsStep struct {
	Node     string           `json:"node"`
	Done     es.Revision      `json:"done,omitempty"`
	Total    es.Revision      `json:"total,omitempty"`
	Ended    bool             `json:"ended,omitempty"`
	Error    string           `json:"error,omitempty"`
	Status   int              `json:"status,omitempty"` // of the error, as of Status
	Infos    []ProjectionInfo `json:"infos,omitempty"`
	Diff     string           `json:"diff,omitempty"`
	Revision es.Revision      `json:"revision,omitempty"`
	Table    *readmodel.Table `json:"table,omitempty"`
}

func (e *Engine) startOps() error {
	for _, verb := range []string{verbInfo, verbPause, verbResume, verbRollback, verbRebuild, verbVerify, verbQuery} {
		queue := "" // every node
		if verb == verbQuery {
			queue = CallQueue
		}
		sub, err := e.conn.QueueSubscribe(opsSubject+verb, queue, func(m *nats.Msg) {
			e.background.Go(func() { e.answerOps(verb, m) })
		})
		if err != nil {
			return err
		}
		e.ops = append(e.ops, sub)
	}
	return nil
}

func (e *Engine) answerOps(verb string, m *nats.Msg) {
	report := func(s opsStep) {
		s.Node = e.node
		body, err := json.Marshal(s)
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			e.metrics.failure(fmt.Errorf("answer %s: %w", m.Subject, err))
		}
	}
	var r ProjectionRequest
	if err := json.Unmarshal(m.Data, &r); err != nil {
		report(opsStep{Ended: true, Error: fmt.Sprintf("the request is not JSON: %v", err), Status: 400})
		return
	}
	if r.Node != "" && r.Node != e.node {
		return
	}
	var done, total atomic.Uint64
	finished := make(chan struct{})
	var pulse sync.WaitGroup
	pulse.Go(func() {
		t := time.NewTicker(replayPulse)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				report(opsStep{Done: es.Revision(done.Load()), Total: es.Revision(total.Load())})
			case <-finished:
				return
			}
		}
	})
	last := opsStep{Ended: true}
	err := e.operate(verb, r, &last, func(d, t es.Revision) { done.Store(uint64(d)); total.Store(uint64(t)) })
	close(finished)
	pulse.Wait()
	last.Done, last.Total = es.Revision(done.Load()), es.Revision(total.Load())
	if err != nil {
		last.Error, last.Status = err.Error(), Status(err)
	}
	report(last)
}

// operate does what is asked and fills the last step.
func (e *Engine) operate(verb string, r ProjectionRequest, last *opsStep, progress func(done, total es.Revision)) (err error) {
	ctx := e.stopped
	var chosen []*projection
	for _, def := range e.cfg.Domain.Projectors {
		if r.Name == "" && verb == verbInfo || r.Name == def.Name {
			chosen = append(chosen, e.projections[def.Name])
		}
	}
	if len(chosen) == 0 {
		return es.NotFound("unknown_projector", fmt.Sprintf("there is no projector %q here", r.Name))
	}
	p := chosen[0]
	switch verb {
	case verbPause:
		err = p.pause(r.By, r.Reason)
	case verbResume:
		err = p.resume(ctx, r.Skip, r.By, r.Reason)
	case verbRollback:
		err = p.rollback()
	case verbRebuild:
		return p.atWork(ProjectionWork{Kind: verb, By: r.By}, progress, func(progress func(done, total es.Revision)) error {
			return p.rebuild(ctx, progress)
		})
	case verbVerify:
		return p.atWork(ProjectionWork{Kind: verb, By: r.By}, progress, func(progress func(done, total es.Revision)) error {
			last.Diff, last.Revision, err = p.verify(ctx, progress)
			if err == nil {
				p.verified(Verdict{e.node, last.Revision, last.Diff})
			}
			return err
		})
	case verbQuery:
		return e.question(ctx, p, r, last)
	}
	if err != nil {
		return err
	}
	revision, err := e.log.LastRevision(ctx)
	if err != nil {
		return err
	}
	for _, p := range chosen {
		last.Infos = append(last.Infos, p.info(ctx, revision))
	}
	return nil
}

// questionTime bounds the answer to an operator's question, and most rows its length.
const (
	questionTime = 30 * time.Second
	mostRows     = 10_000
)

func (e *Engine) question(ctx context.Context, p *projection, r ProjectionRequest, last *opsStep) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	m, err := p.at(ctx, 0)
	if err != nil {
		return err
	}
	last.Revision, _ = m.Checkpoint()
	rows := mostRows
	if r.Rows > 0 {
		rows = min(r.Rows, mostRows)
	}
	table, err := m.Ask(ctx, r.Question, readmodel.Limits{Rows: rows, Bytes: int(e.conn.MaxPayload()) / 3}) // JSON is longer than its values
	last.Table = &table
	return err
}

// Projections asks every running node how its projectors stand. name "" means all.
func Projections(ctx context.Context, nc *nats.Conn, name string) ([]ProjectionInfo, error) {
	steps, err := ask(ctx, nc, verbInfo, ProjectionRequest{Name: name}, nil)
	return infosOf(steps), err
}

// PauseProjection stops a projector on every node until it is resumed; queries are answered as it stands.
func PauseProjection(ctx context.Context, nc *nats.Conn, r ProjectionRequest) ([]ProjectionInfo, error) {
	return infos(ctx, nc, verbPause, r)
}

// ResumeProjection lets a paused or halted projector go on, past the commit it halted at when Skip names that one.
func ResumeProjection(ctx context.Context, nc *nats.Conn, r ProjectionRequest) ([]ProjectionInfo, error) {
	if r.Skip > 0 && (strings.TrimSpace(r.Reason) == "" || r.By == "") {
		return nil, &es.InvalidError{Code: "bad_request", Message: "who skips a commit, and why, must be said"}
	}
	return infos(ctx, nc, verbResume, r)
}

// RollBackProjection lets the model serve that served before; called again, it goes forward.
func RollBackProjection(ctx context.Context, nc *nats.Conn, r ProjectionRequest) ([]ProjectionInfo, error) {
	return infos(ctx, nc, verbRollback, r)
}

func infos(ctx context.Context, nc *nats.Conn, verb string, r ProjectionRequest) ([]ProjectionInfo, error) {
	steps, err := operated(ctx, nc, verb, r, nil)
	return infosOf(steps), err
}

func infosOf(steps []opsStep) []ProjectionInfo {
	var all []ProjectionInfo
	for _, s := range steps {
		all = append(all, s.Infos...)
	}
	slices.SortStableFunc(all, func(a, b ProjectionInfo) int { return strings.Compare(a.Name+" "+a.Node, b.Name+" "+b.Node) })
	return all
}

// operated asks the nodes for what an operator wants done, and records what became of it.
func operated(ctx context.Context, nc *nats.Conn, verb string, r ProjectionRequest, progress func(node string, done, total es.Revision)) ([]opsStep, error) {
	if err := checkOperator(r.By, r.Reason); err != nil {
		return nil, err
	}
	if !es.ValidID(r.Name) {
		return nil, es.NotFound("unknown_projector", fmt.Sprintf("no projector can be called %.64q", r.Name))
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	steps, err := ask(ctx, nc, verb, r, progress)
	a := Action{Kind: verb, By: r.By, Reason: r.Reason}
	detail := struct {
		Nodes  []string    `json:"nodes"`
		Skip   es.Revision `json:"skip,omitempty"`
		Differ []string    `json:"differ,omitempty"` // nodes; not in what, since rows may be personal and a record stays
	}{Nodes: []string{}, Skip: r.Skip}
	if r.Skip > 0 {
		a.Kind = "skip"
	}
	for _, s := range steps {
		detail.Nodes = append(detail.Nodes, s.Node)
		if s.Diff != "" {
			detail.Differ = append(detail.Differ, s.Node)
		}
	}
	if verb == verbVerify && err == nil {
		a.State = "equal"
		if len(detail.Differ) > 0 {
			a.State = "differs"
		}
	}
	a.Detail = detail
	return steps, record(ctx, js, OnProjections, r.Name, a, err)
}

// Rebuild asks every running node to build a read model anew, and returns when all have. Queries are answered from
// the old one meanwhile; Projections says how far it is. Errors: no node answers; a node fails or falls silent.
func Rebuild(ctx context.Context, nc *nats.Conn, r ProjectionRequest, progress func(node string, done, total es.Revision)) error {
	_, err := operated(ctx, nc, verbRebuild, r, progress)
	return err
}

// Verdict is what a node found when it verified a read model.
type Verdict struct {
	Node     string      `json:"node"`
	Revision es.Revision `json:"revision"`       // compared at
	Diff     string      `json:"diff,omitempty"` // readmodel.Equal: serving against rebuilt; "": none
}

// Verify asks every running node to build a read model anew and compare it with its own, row by row.
func Verify(ctx context.Context, nc *nats.Conn, r ProjectionRequest, progress func(node string, done, total es.Revision)) ([]Verdict, error) {
	var all []Verdict
	steps, err := operated(ctx, nc, verbVerify, r, progress)
	for _, s := range steps {
		if s.Error == "" {
			all = append(all, Verdict{s.Node, s.Revision, s.Diff})
		}
	}
	return all, err
}

// QuestionAnswer is one node's answer to a question in SQL.
type QuestionAnswer struct {
	Node     string      `json:"node,omitempty"`
	Revision es.Revision `json:"revision"` // what the answer shows at least
	readmodel.Table
}

// Question asks one running node's read model in SQL, read-only. rows bounds the answer.
func Question(ctx context.Context, nc *nats.Conn, projector, question string, rows int) (QuestionAnswer, error) {
	steps, err := ask(ctx, nc, verbQuery, ProjectionRequest{Name: projector, Question: question, Rows: rows}, nil)
	if err != nil {
		return QuestionAnswer{}, err
	}
	if len(steps) == 0 || steps[0].Table == nil {
		return QuestionAnswer{}, es.Permanent(errors.New("the node's answer holds no table: it runs another version"))
	}
	return QuestionAnswer{steps[0].Node, steps[0].Revision, *steps[0].Table}, nil
}
