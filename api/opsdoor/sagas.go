package opsdoor

import (
	"net/http"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es/runtime"
)

func (d *Door) sagaMounts() []rest.Mount {
	return append(on(inPath("saga"),
		d.get("sagas/{saga}/{key}", access.SagasRead, "One process: timeline, timers, what it waits for", d.saga, runtime.ProcessHistory{}),
		d.post("sagas/{saga}/{key}/retry", access.SagasOperate, "Do again what a process owes", d.retrySaga, reasoned{}, runtime.ProcessReply{}),
		d.post("sagas/{saga}/{key}/cancel", access.SagasForce, "Give a process up", d.cancelSaga, cancellation{}, runtime.ProcessReply{}),
	), on(inQuery("saga"),
		d.get("sagas", access.SagasRead, "Processes of sagas: saga, state (open, done, stuck), q, cursor, limit", d.sagas, list[runtime.Process]{}, rest.Param{Name: "saga", Description: "of one saga"}, rest.Param{Name: "state", Description: "open, done or stuck"}, rest.Param{Name: "q", Description: "a part of the key"}, cursorParam, limitParam),
		d.get("timers", access.SagasRead, "Armed timers, the next first: saga, q, limit", d.timers, list[runtime.Timer]{}, rest.Param{Name: "saga", Description: "of one saga"}, rest.Param{Name: "q", Description: "a part of the key"}, limitParam),
	)...)
}

func (d *Door) sagas(r *http.Request) (int, any, error) {
	value, limit, err := query(r, "saga", "state", "q", "cursor")
	if err != nil {
		return 0, nil, err
	}
	f := runtime.ProcessFilter{Saga: value("saga"), State: runtime.ProcessState(value("state")), Query: value("q")}
	page, total, next, err := d.processes.List(r.Context(), f, value("cursor"), limit)
	return 0, listOf(page, next).of(total), err
}

func (d *Door) saga(r *http.Request) (int, any, error) {
	h, err := d.processes.Show(r.Context(), r.PathValue("saga"), r.PathValue("key"))
	return 0, h, err
}

func (d *Door) timers(r *http.Request) (int, any, error) {
	value, limit, err := query(r, "saga", "q")
	if err != nil {
		return 0, nil, err
	}
	timers, total, err := d.processes.Timers(r.Context(), runtime.ProcessFilter{Saga: value("saga"), Query: value("q")}, limit)
	return 0, listOf(timers, "").of(total), err
}

func (d *Door) retrySaga(r *http.Request) (int, any, error) {
	body, err := read[reasoned](r)
	if err != nil {
		return 0, nil, err
	}
	return d.act(r, runtime.RetryProcess, body.Reason)
}

// cancellation is the body of a process given up.
type cancellation struct {
	sure
	Force bool `json:"force,omitempty"` // end it where it stands, with nothing undone
}

func (d *Door) cancelSaga(r *http.Request) (int, any, error) {
	body, err := read[cancellation](r)
	if err != nil {
		return 0, nil, err
	}
	kind, what := runtime.CancelProcess, "giving up "
	if body.Force {
		kind, what = runtime.EndProcess, "ending, with nothing undone, "
	}
	if err := confirmed(what+r.PathValue("saga")+" "+r.PathValue("key"), r.PathValue("key"), body.Confirm, body.Reason); err != nil {
		return 0, nil, err
	}
	return d.act(r, kind, body.Reason)
}

func (d *Door) act(r *http.Request, kind, reason string) (int, any, error) {
	by, err := operator(r)
	if err != nil {
		return 0, nil, err
	}
	if err := runtime.CheckSaga(d.engine.Domain(), r.PathValue("saga")); err != nil {
		return 0, nil, err
	}
	reply, err := runtime.ActOnProcess(r.Context(), d.engine.Conn(), runtime.ProcessRequest{
		Kind: kind, Saga: r.PathValue("saga"), Key: r.PathValue("key"), By: by, Reason: reason,
	})
	return 0, reply, err
}
