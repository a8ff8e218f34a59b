// Package opsdoor is the operators' HTTP door: what the console shows and does. It looks at projectors, sagas, timers,
// dead letters, snapshots and the audit of all that operators did, and passes on what they want done. Whoever acts is
// the authenticated caller; what is hard to undo wants a name typed and a reason.
package opsdoor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// Engine is what the door needs of *runtime.Engine.
type Engine interface {
	Domain() es.Domain
	Schemas() *schema.Registry
	Conn() *nats.Conn // of a user of the engine's account
	Overview(ctx context.Context) (runtime.Overview, error)
}

var _ Engine = (*runtime.Engine)(nil)

// Options change how the door behaves; the zero value works.
type Options struct {
	// Logger hears of faults whose details the caller is not shown; default slog.Default().
	Logger *slog.Logger
}

// Door answers /ops/….
type Door struct {
	engine    Engine
	log       *slog.Logger
	js        jetstream.JetStream
	events    *natsstore.Log
	processes *runtime.Processes
	letters   *ops.DeadLetters
	snapshots *runtime.SnapshotStore
}

// New makes the door of a running engine.
func New(e Engine, opts Options) (*Door, error) {
	d := &Door{engine: e, log: opts.Logger}
	if d.log == nil {
		d.log = slog.Default()
	}
	var err error
	if d.js, err = jetstream.New(e.Conn()); err != nil {
		return nil, err
	}
	if d.events, err = natsstore.NewLog(e.Conn(), e.Schemas()); err != nil {
		return nil, err
	}
	if d.letters, err = ops.NewDeadLetters(e.Conn()); err != nil {
		return nil, err
	}
	if d.snapshots, err = runtime.NewSnapshotStore(e.Conn(), e.Schemas(), d.events); err != nil {
		return nil, err
	}
	d.processes = runtime.NewProcesses(d.js, e.Domain())
	return d, nil
}

// Mounts are the door's routes.
func (d *Door) Mounts() []rest.Mount {
	all := slices.Concat(d.projectionMounts(), d.sagaMounts(), d.letterMounts(), d.lookMounts())
	for i := range all {
		all[i].Pattern = "/ops/" + all[i].Pattern
	}
	return all
}

// get is a route to look at something; answer is a value of its body's type.
func (d *Door) get(path string, op access.Operation, summary string, h handler, answer any, params ...rest.Param) rest.Mount {
	return rest.Mount{Method: http.MethodGet, Pattern: path, Operation: op, Summary: summary, Handler: d.serve(h),
		Doc: &rest.Doc{Tag: tag, Params: params, Answer: answer}}
}

// post is a route to do something; body and answer are values of their types.
func (d *Door) post(path string, op access.Operation, summary string, h handler, body, answer any) rest.Mount {
	return rest.Mount{Method: http.MethodPost, Pattern: path, Operation: op, Summary: summary, Handler: d.serve(h),
		Doc: &rest.Doc{Tag: tag, Body: body, Answer: answer}}
}

// tag groups the routes in the document.
const tag = "operators"

// The parameters of lists.
var (
	limitParam  = rest.Param{Name: "limit", Description: fmt.Sprintf("how many, at most %d; default %d", mostLimit, usualLimit)}
	cursorParam = rest.Param{Name: "cursor", Description: "next of the page before"}
)

// on says what the operations of mounts are done to.
func on(target func(*http.Request) string, mounts ...rest.Mount) []rest.Mount {
	for i := range mounts {
		mounts[i].Target = target
	}
	return mounts
}

// inPath is the target that stands in the path.
func inPath(name string) func(*http.Request) string {
	return func(r *http.Request) string { return r.PathValue(name) }
}

// inQuery is the target that a list is narrowed down to.
func inQuery(name string) func(*http.Request) string {
	return func(r *http.Request) string { return r.URL.Query().Get(name) }
}

// handler answers with a body, or an error. Status 0 is 200.
type handler func(r *http.Request) (status int, body any, err error)

func (d *Door) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body, err := h(r)
		var unconfirmed *unconfirmedError
		switch {
		case errors.As(err, &unconfirmed):
			rest.WriteProblem(w, r, &unconfirmed.problem)
		case errors.Is(err, es.ErrTransient) && !errors.Is(err, es.ErrConflict):
			p := runtime.Problem(err)
			p.Message = err.Error() // operators may know what is not there
			rest.WriteProblem(w, r, p)
		case err != nil:
			rest.WriteError(w, r, err)
		default:
			w.Header().Set("Cache-Control", "no-store")
			rest.WriteJSON(w, max(status, http.StatusOK), body)
		}
	})
}

// list is the body of every list.
type list[T any] struct {
	Items []T    `json:"items"`
	Total *int   `json:"total,omitempty"` // that match, when it is known
	Next  string `json:"next,omitempty"`  // the cursor of the next page; absent: this is the last
}

func listOf[T any](items []T, next string) list[T] {
	return list[T]{Items: append([]T{}, items...), Next: next}
}

func (l list[T]) of(total int) list[T] {
	l.Total = &total
	return l
}

// The length of a page.
const (
	usualLimit = 50
	mostLimit  = 500
)

func bad(format string, args ...any) error {
	return &es.InvalidError{Code: "bad_request", Message: fmt.Sprintf(format, args...)}
}

// query reads the parameters of a request, which must be among those known.
func query(r *http.Request, known ...string) (value func(string) string, limit int, err error) {
	given := r.URL.Query()
	for name := range given {
		if name != "limit" && !slices.Contains(known, name) {
			return nil, 0, bad("unknown parameter %.64q: known are %s", name, strings.Join(append(known, "limit"), ", "))
		}
	}
	limit = usualLimit
	if text := given.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > mostLimit {
			return nil, 0, bad("limit %.64q: expected 1 to %d", text, mostLimit)
		}
	}
	return given.Get, limit, nil
}

// read decodes a request's body; an empty one is the zero value.
func read[T any](r *http.Request) (body T, err error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return body, &es.InvalidError{Code: "too_large", Message: fmt.Sprintf("the body cannot be read: %v", err)}
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return body, nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return body, &es.InvalidError{Code: "malformed", Message: fmt.Sprintf("the body is not what is expected here: %v", err)}
	}
	if decoder.More() {
		return body, &es.InvalidError{Code: "malformed", Message: "the body is more than one JSON value"}
	}
	return body, nil
}

// stream is the aggregate that a path names by collection and id.
func (d *Door) stream(r *http.Request) (es.Stream, error) {
	collection := r.PathValue("collection")
	var known []string
	for _, a := range d.engine.Domain().Aggregates {
		if a.Collection() == collection {
			s := es.Stream{Category: a.Category(), ID: r.PathValue("id")}
			return s, s.Validate()
		}
		known = append(known, a.Collection())
	}
	return es.Stream{}, es.NotFound("unknown_collection", fmt.Sprintf("there is no collection %.64q: known are %s", collection, strings.Join(known, ", ")))
}

// operator is who acts.
func operator(r *http.Request) (string, error) {
	p, known := access.From(r.Context())
	if !known {
		return "", &access.UnauthenticatedError{Reason: "who acts on the system must be known"}
	}
	return p.Name, nil
}

// unconfirmedError is a 422: what is hard to undo was asked for without the word to type, or without a reason.
type unconfirmedError struct{ problem es.Problem }

func (e *unconfirmedError) Error() string { return e.problem.Message }

// reasoned and sure are the bodies of what is done for a reason, and of what is hard to undo.
type (
	reasoned struct {
		Reason string `json:"reason,omitempty"`
	}
	sure struct {
		Reason  string `json:"reason"`
		Confirm string `json:"confirm"` // the word to type
	}
)

// confirmed checks the word typed and the reason of what is hard to undo.
func confirmed(what, want, typed, reason string) error {
	refuse := func(code, pointer, format string, args ...any) error {
		return &unconfirmedError{es.Problem{Status: http.StatusUnprocessableEntity, Code: code, Pointer: pointer, Message: fmt.Sprintf(format, args...)}}
	}
	switch {
	case strings.TrimSpace(reason) == "":
		return refuse("reason_needed", "/reason", "%s needs a reason, which stays on record", what)
	case typed != want:
		return refuse("confirm_needed", "/confirm", "%s is hard to undo: send confirm with %q", what, want)
	}
	return nil
}
