package opsdoor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

func (d *Door) lookMounts() []rest.Mount {
	return append(on(d.category,
		d.get("snapshots/{collection}/{id}", access.SnapshotsRead, "One snapshot, and whether a load would use it", d.snapshot, runtime.SnapshotDetail{}),
		d.post("snapshots/{collection}/{id}/drop", access.SnapshotsForce, "Take a snapshot away; the log holds the truth", d.dropSnapshot, sure{}, droppedSnapshot{}),
		d.get("why/{collection}/{id}", access.AggregateRead, "Why an aggregate is as it is, and what comes next", d.why, ops.Why{}),
		d.get("history/{collection}/{id}", access.AggregateRead, "What happened to one aggregate: who, when, what: cursor, limit", d.history, list[ops.Entry]{}, cursorParam, limitParam),
	), append(on(inQuery("category"), d.get("snapshots", access.SnapshotsRead, "Stored snapshots: category, cursor, limit", d.listSnapshots, list[runtime.SnapshotInfo]{}, rest.Param{Name: "category", Description: "of one category"}, cursorParam, limitParam)),
		d.get("overview", access.MetricsRead, "How the system does: rates, latencies, lag, what is stuck", d.overview, runtime.Overview{}),
		d.get("trace/{correlation}", access.AggregateRead, "The story of a correlation id as trees: since", d.trace, story{}, rest.Param{Name: "since", Description: "how far back, like 90m; 0s is the whole log, default a day"}),
		d.get("audit", access.AuditRead, "What operators did, the newest first: what, on, by, cursor, limit", d.audit, list[runtime.AuditEntry]{}, rest.Param{Name: "what", Description: "sagas, projections, deadletters, snapshots or keys"}, rest.Param{Name: "on", Description: "to one of them"}, rest.Param{Name: "by", Description: "by one user"}, cursorParam, limitParam),
		d.get("schemas", access.SchemasRead, "Every event, command and query, with JSON Schema", d.schemas, schemasAnswer{}),
	)...)
}

// category is that of the collection in the path; "": there is none.
func (d *Door) category(r *http.Request) string {
	s, err := d.stream(r)
	if err != nil {
		return ""
	}
	return s.Category
}

func (d *Door) overview(r *http.Request) (int, any, error) {
	o, err := d.engine.Overview(r.Context())
	return 0, o, err
}

func (d *Door) audit(r *http.Request) (int, any, error) {
	value, limit, err := query(r, "what", "on", "by", "cursor")
	if err != nil {
		return 0, nil, err
	}
	before, err := number("cursor", value("cursor"))
	if err != nil {
		return 0, nil, err
	}
	entries, next, err := runtime.Audit(r.Context(), d.js, runtime.AuditFilter{What: value("what"), On: value("on"), By: value("by")}, before, limit)
	cursor := ""
	if next > 0 {
		cursor = strconv.FormatUint(next, 10)
	}
	return 0, listOf(entries, cursor), err
}

func number(name, text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, bad("%s %.64q: expected a whole number", name, text)
	}
	return n, nil
}

func (d *Door) why(r *http.Request) (int, any, error) {
	s, err := d.stream(r)
	if err != nil {
		return 0, nil, err
	}
	w, err := ops.AskWhy(r.Context(), ops.WhyConfig{
		Log: d.events, Schemas: d.engine.Schemas(), Processes: d.processes, Stream: s, Now: time.Now(),
	})
	return 0, w, err
}

// story is a trace.
type story struct {
	Correlation string      `json:"correlationId"`
	Since       *time.Time  `json:"since,omitempty"` // nothing before was looked at
	Roots       []*ops.Node `json:"roots"`
}

// JSONSchema leaves the trees to their readers: a type that contains itself has no schema of its own.
func (story) JSONSchema() string {
	return `{"type":"object","properties":{"correlationId":{"type":"string"},"since":{"type":"string","format":"date-time"},` +
		`"roots":{"type":"array","items":{"type":"object","description":"a command, event or transition; children hold what it led to"}}},` +
		`"required":["correlationId","roots"]}`
}

// The log is not indexed by correlation, so a trace reads it: the last day unless the caller says more, and for so long
// as an answer may take.
const (
	traceSince = 24 * time.Hour
	traceTime  = 45 * time.Second
)

func (d *Door) trace(r *http.Request) (int, any, error) {
	value, _, err := query(r, "since")
	if err != nil {
		return 0, nil, err
	}
	back := traceSince
	if text := value("since"); text != "" {
		if back, err = time.ParseDuration(text); err != nil || back < 0 {
			return 0, nil, bad("since %.64q: expected how far back, like 90m or 48h; 0s is the whole log", text)
		}
	}
	s := story{Correlation: r.PathValue("correlation")}
	config := ops.TraceConfig{Log: d.events, Sagas: natsstore.NewSagaLog(d.js), Domain: d.engine.Domain(), Correlation: s.Correlation}
	if back > 0 {
		config.Since = time.Now().UTC().Add(-back)
		s.Since = &config.Since
	}
	ctx, cancel := context.WithTimeout(r.Context(), traceTime)
	defer cancel()
	s.Roots, err = ops.Trace(ctx, config)
	return 0, s, err
}

func (d *Door) history(r *http.Request) (int, any, error) {
	value, limit, err := query(r, "cursor")
	if err != nil {
		return 0, nil, err
	}
	after, err := number("cursor", value("cursor"))
	if err != nil {
		return 0, nil, err
	}
	s, err := d.stream(r)
	if err != nil {
		return 0, nil, err
	}
	entries, err := ops.History(r.Context(), d.events, s)
	if err != nil {
		return 0, nil, err
	}
	total := len(entries)
	entries = entries[min(after, uint64(total)):] // versions are 1, 2, 3 …
	next := ""
	if len(entries) > limit {
		entries = entries[:limit]
		next = strconv.FormatUint(entries[limit-1].Version, 10)
	}
	return 0, listOf(entries, next).of(total), nil
}

type schemasAnswer struct {
	Events   []eventSchema   `json:"events"`
	Commands []commandSchema `json:"commands"`
	Queries  []querySchema   `json:"queries"`
}

type eventSchema struct {
	Type    string          `json:"type"`
	Version int             `json:"version"`
	Schema  json.RawMessage `json:"schema"` // of the newest version
}

type commandSchema struct {
	Category   string          `json:"category"`
	Collection string          `json:"collection"`
	Type       string          `json:"type"`
	Path       string          `json:"path"`               // of its POST route
	Internal   bool            `json:"internal,omitempty"` // sagas and gateways send it
	ExampleID  string          `json:"exampleId"`
	Schema     json.RawMessage `json:"schema"`
	Example    json.RawMessage `json:"example"`
}

type querySchema struct {
	Name      string          `json:"name"`
	Path      string          `json:"path"` // of its GET route
	Summary   string          `json:"summary,omitempty"`
	Projector string          `json:"projector"`
	Params    json.RawMessage `json:"params"`
	Result    json.RawMessage `json:"result"`
}

func (d *Door) schemas(*http.Request) (int, any, error) {
	answer := schemasAnswer{Events: []eventSchema{}, Commands: []commandSchema{}, Queries: []querySchema{}}
	for _, e := range d.engine.Domain().Events {
		s, err := d.engine.Schemas().EventSchema(e.Type, 0)
		if err != nil {
			return 0, nil, err
		}
		answer.Events = append(answer.Events, eventSchema{e.Type, e.Version, s})
	}
	for _, a := range d.engine.Domain().Aggregates {
		for _, c := range d.engine.Schemas().Commands(a.Category()) {
			answer.Commands = append(answer.Commands, commandSchema{
				a.Category(), a.Collection(), c.Type, rest.CommandPath(a, c.Type), c.Internal, a.ExampleID(), c.Schema, c.Example,
			})
		}
	}
	for _, q := range d.engine.Schemas().Queries() {
		result, err := schema.Of(q.Result())
		if err != nil {
			return 0, nil, err
		}
		answer.Queries = append(answer.Queries, querySchema{q.QueryName(), q.QueryPath(), q.QuerySummary(), q.ProjectorName(), q.Schema, result})
	}
	return 0, answer, nil
}

func (d *Door) listSnapshots(r *http.Request) (int, any, error) {
	value, limit, err := query(r, "category", "cursor")
	if err != nil {
		return 0, nil, err
	}
	page, next, err := d.snapshots.List(r.Context(), value("category"), value("cursor"), limit)
	return 0, listOf(page, next), err
}

func (d *Door) snapshot(r *http.Request) (int, any, error) {
	s, err := d.stream(r)
	if err != nil {
		return 0, nil, err
	}
	detail, err := d.snapshots.Show(r.Context(), s)
	return 0, detail, err
}

type droppedSnapshot struct {
	Stream string `json:"stream"`
	State  string `json:"state"`
}

func (d *Door) dropSnapshot(r *http.Request) (int, any, error) {
	s, err := d.stream(r)
	if err != nil {
		return 0, nil, err
	}
	body, err := read[sure](r)
	if err == nil {
		err = confirmed(fmt.Sprintf("dropping the snapshot of %s", s), s.ID, body.Confirm, body.Reason)
	}
	if err != nil {
		return 0, nil, err
	}
	by, err := operator(r)
	if err != nil {
		return 0, nil, err
	}
	return 0, droppedSnapshot{s.String(), "dropped"}, d.snapshots.Drop(r.Context(), s, by, body.Reason)
}
