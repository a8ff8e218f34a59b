package opsdoor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

func (d *Door) projectionMounts() []rest.Mount {
	return append(on(inPath("name"),
		d.get("projections/{name}", access.ProjectionsRead, "One projector, with what is under way and what was done to it", d.projection, projectionAnswer{}),
		d.post("projections/{name}/pause", access.ProjectionsOperate, "Stop a projector until it is resumed", d.pause, projectionOrder{}, list[runtime.ProjectionInfo]{}),
		d.post("projections/{name}/resume", access.ProjectionsOperate, "Let a projector go on; skipping a commit needs role admin", d.resume, projectionOrder{}, list[runtime.ProjectionInfo]{}),
		d.post("projections/{name}/rebuild", access.ProjectionsOperate, "Build a read model anew beside the serving one", d.rebuild, projectionOrder{}, begun{}),
		d.post("projections/{name}/verify", access.ProjectionsOperate, "Compare a read model with one built anew", d.verify, projectionOrder{}, begun{}),
		d.post("projections/{name}/rollback", access.ProjectionsForce, "Let the model serve that served before", d.rollback, projectionOrder{}, list[runtime.ProjectionInfo]{}),
	), d.get("projections", access.ProjectionsRead, "How every projector stands, on every node", d.projections, list[runtime.ProjectionInfo]{}))
}

func (d *Door) projections(r *http.Request) (int, any, error) {
	found, err := runtime.Projections(r.Context(), d.engine.Conn(), "")
	return 0, listOf(found, ""), err
}

// projectionAnswer is one projector.
type projectionAnswer struct {
	Name    string                   `json:"name"`
	Nodes   []runtime.ProjectionInfo `json:"nodes"`
	Actions []runtime.AuditEntry     `json:"actions"` // what operators did to it and what came of it, the newest first
}

// shownActions is how many of a projector's actions are shown.
const shownActions = 20

func (d *Door) projection(r *http.Request) (int, any, error) {
	answer := projectionAnswer{Name: r.PathValue("name")}
	if err := d.knownProjector(answer.Name); err != nil {
		return 0, nil, err
	}
	var err error
	if answer.Nodes, err = runtime.Projections(r.Context(), d.engine.Conn(), answer.Name); err != nil {
		return 0, nil, err
	}
	all, err := runtime.ActionsOn(r.Context(), d.js, runtime.OnProjections, answer.Name)
	slices.Reverse(all)
	answer.Actions = all[:min(len(all), shownActions)]
	return 0, answer, err
}

func (d *Door) knownProjector(name string) error {
	var known []string
	for _, p := range d.engine.Domain().Projectors {
		if p.Name == name {
			return nil
		}
		known = append(known, p.Name)
	}
	return es.NotFound("unknown_projector", fmt.Sprintf("there is no projector %.64q: known are %s", name, strings.Join(known, ", ")))
}

// projectionOrder is the body of what is done to a projector.
type projectionOrder struct {
	Reason  string      `json:"reason,omitempty"`
	Node    string      `json:"node,omitempty"` // "": on every one
	Skip    es.Revision `json:"skip,omitempty"`
	Confirm string      `json:"confirm,omitempty"`
}

// order reads what is to be done to the projector that the path names.
func (d *Door) order(r *http.Request) (runtime.ProjectionRequest, projectionOrder, error) {
	name := r.PathValue("name")
	if err := d.knownProjector(name); err != nil {
		return runtime.ProjectionRequest{}, projectionOrder{}, err
	}
	by, err := operator(r)
	if err != nil {
		return runtime.ProjectionRequest{}, projectionOrder{}, err
	}
	o, err := read[projectionOrder](r)
	return runtime.ProjectionRequest{Name: name, Node: o.Node, By: by, Reason: o.Reason, Skip: o.Skip}, o, err
}

type changeProjection = func(context.Context, *nats.Conn, runtime.ProjectionRequest) ([]runtime.ProjectionInfo, error)

func (d *Door) change(r *http.Request, q runtime.ProjectionRequest, do changeProjection) (int, any, error) {
	infos, err := do(r.Context(), d.engine.Conn(), q)
	return 0, listOf(infos, ""), err
}

var errNoSkip = bad("skip goes with resume")

func (d *Door) pause(r *http.Request) (int, any, error) {
	q, o, err := d.order(r)
	if err == nil && o.Skip > 0 {
		err = errNoSkip
	}
	if err != nil {
		return 0, nil, err
	}
	return d.change(r, q, runtime.PauseProjection)
}

func (d *Door) resume(r *http.Request) (int, any, error) {
	q, o, err := d.order(r)
	if err != nil {
		return 0, nil, err
	}
	if o.Skip > 0 {
		if err := access.Check(r.Context(), access.ProjectionsForce, q.Name); err != nil {
			return 0, nil, err
		}
		if err := confirmed(fmt.Sprintf("leaving revision %d out of %s for good", o.Skip, q.Name), q.Name, o.Confirm, o.Reason); err != nil {
			return 0, nil, err
		}
	}
	return d.change(r, q, runtime.ResumeProjection)
}

func (d *Door) rollback(r *http.Request) (int, any, error) {
	q, o, err := d.order(r)
	if err == nil && o.Skip > 0 {
		err = errNoSkip
	}
	if err == nil {
		err = confirmed("letting an older model of "+q.Name+" answer", q.Name, o.Confirm, o.Reason)
	}
	if err != nil {
		return 0, nil, err
	}
	return d.change(r, q, runtime.RollBackProjection)
}

func (d *Door) rebuild(r *http.Request) (int, any, error) {
	return d.begin(r, func(ctx context.Context, q runtime.ProjectionRequest, progress watchNodes) error {
		return runtime.Rebuild(ctx, d.engine.Conn(), q, progress)
	})
}

func (d *Door) verify(r *http.Request) (int, any, error) {
	return d.begin(r, func(ctx context.Context, q runtime.ProjectionRequest, progress watchNodes) error {
		_, err := runtime.Verify(ctx, d.engine.Conn(), q, progress)
		return err
	})
}

type watchNodes = func(node string, done, total es.Revision)

// begun says where to look how something long goes on.
type begun struct {
	Status string `json:"status"`
}

// begin starts something long and answers as soon as a node works on it, or none will. What came of it is among the
// projector's actions.
func (d *Door) begin(r *http.Request, do func(context.Context, runtime.ProjectionRequest, watchNodes) error) (int, any, error) {
	q, o, err := d.order(r)
	if err == nil && o.Skip > 0 {
		err = errNoSkip
	}
	if err != nil {
		return 0, nil, err
	}
	ctx := context.WithoutCancel(r.Context())
	working, ended := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		err := do(ctx, q, func(string, es.Revision, es.Revision) { once.Do(func() { close(working) }) })
		select {
		case <-working:
			if err != nil { // nobody waits for it any more
				d.log.Warn("what an operator began at a projector failed", "projector", q.Name, "by", q.By, "path", r.URL.Path, "error", err)
			}
		default:
		}
		ended <- err
	}()
	select {
	case <-working:
	case err := <-ended:
		if err != nil {
			return 0, nil, err
		}
	}
	return http.StatusAccepted, begun{"/ops/projections/" + q.Name}, nil
}
