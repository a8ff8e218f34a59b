package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// A domain of parcels, whose states share their path with a query, and boxes, which no query asks for.

type parcelEvent interface {
	es.Event
	ofParcel()
}

type parcelCommand interface {
	es.Command
	toParcel()
}

type parcelOpened struct {
	To string `json:"to"`
}

func (parcelOpened) EventType() string { return "ParcelOpened" }
func (parcelOpened) ofParcel()         {}

type openParcel struct {
	To     string `json:"to" jsonschema:"minLength=1,example=Ada"`
	Weight int    `json:"weight,omitempty"`
}

func (openParcel) CommandType() string { return "OpenParcel" }
func (openParcel) toParcel()           {}

type sealParcel struct{}

func (sealParcel) CommandType() string { return "SealParcel" }
func (sealParcel) toParcel()           {}

// weighParcel is for sagas to send.
type weighParcel struct{}

func (weighParcel) CommandType() string { return "WeighParcel" }
func (weighParcel) toParcel()           {}

type parcel struct {
	To string `json:"to"`
}

func (p parcel) Decide(parcelCommand, es.Meta) ([]parcelEvent, error) { return nil, nil }
func (p parcel) Evolve(e parcelEvent) parcel                          { return p }

type boxCommand interface {
	es.Command
	toBox()
}

type fillBox struct{}

func (fillBox) CommandType() string { return "FillBox" }
func (fillBox) toBox()              {}

type box struct {
	Full bool `json:"full"`
}

func (b box) Decide(boxCommand, es.Meta) ([]es.Event, error) { return nil, nil }
func (b box) Evolve(es.Event) box                            { return b }

type parcelParams struct {
	ParcelID string `json:"parcelId"`
}

type parcelAnswer struct {
	ParcelID string `json:"parcelId"`
	Version  uint64 `json:"version"`
}

func (p parcelAnswer) StreamVersion() uint64 { return p.Version }

type page struct {
	Limit  int    `json:"limit,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

type parcelsParams struct {
	page
	Page   page      `json:"-"`
	Status []string  `json:"status,omitempty"`
	From   time.Time `json:"from,omitzero"`
	Sealed *bool     `json:"sealed,omitempty"`
	Weigh  float64   `json:"weight,omitempty"`
}

type parcelsAnswer struct {
	Items      []parcelAnswer `json:"items"`
	NextCursor string         `json:"nextCursor,omitempty"`
}

type historyParams struct {
	Collection string `json:"collection"`
	ID         string `json:"id"`
}

func never[P, R any](context.Context, es.Reader, P) (R, error) { panic("the fake engine answers") }

func domain() es.Domain {
	return es.Domain{
		Name:   "parcels",
		Events: []es.EventDef{es.EventOf[parcelOpened](1)},
		Aggregates: []es.Aggregate{
			es.Define[parcel]("parcel", openParcel{}, sealParcel{}, weighParcel{}).Internal(weighParcel{}),
			es.Define[box]("box", fillBox{}).In("boxes"),
		},
		Projectors: []es.Projector{{Name: "parcels", Interest: es.Interest{Handles: []es.Event{parcelOpened{}}}}},
		Queries: []es.QueryDef{
			es.Query[parcelParams, parcelAnswer]{Name: "parcelById", Path: "/parcels/{parcelId}", Projector: "parcels", Ask: never[parcelParams, parcelAnswer]},
			es.Query[parcelsParams, parcelsAnswer]{Name: "parcels", Path: "/parcels", Projector: "parcels", Ask: never[parcelsParams, parcelsAnswer]},
			es.Query[historyParams, parcelsAnswer]{Name: "history", Path: "/{collection}/{id}/history", Projector: "parcels", Ask: never[historyParams, parcelsAnswer]},
		},
	}
}

// engine is a fake that remembers what it was asked and answers what it was told.
type engine struct {
	domain  es.Domain
	schemas *schema.Registry
	metrics *prometheus.Registry

	execute func(es.Request) es.Reply
	enqueue func(es.Request) (string, error)
	outcome func(ctx context.Context, s es.Stream, commandID string) (es.Reply, bool, error)
	await   func(ctx context.Context, s es.Stream, commandID string) (es.Reply, bool, error)
	ask     func(ctx context.Context, params any, min es.Revision) (any, es.Revision, error)
	stateAt func(es.Stream, es.Range) (runtime.StateAt, error)
	checks  []runtime.Check
}

func (e *engine) Domain() es.Domain                      { return e.domain }
func (e *engine) Schemas() *schema.Registry              { return e.schemas }
func (e *engine) Metrics() *prometheus.Registry          { return e.metrics }
func (e *engine) Checks(context.Context) []runtime.Check { return e.checks }

func (e *engine) Execute(_ context.Context, r es.Request) es.Reply { return e.execute(r) }

func (e *engine) Enqueue(_ context.Context, r es.Request) (string, error) { return e.enqueue(r) }

func (e *engine) Outcome(ctx context.Context, s es.Stream, id string) (es.Reply, bool, error) {
	return e.outcome(ctx, s, id)
}

func (e *engine) AwaitOutcome(ctx context.Context, s es.Stream, id string) (es.Reply, bool, error) {
	return e.await(ctx, s, id)
}

func (e *engine) Ask(ctx context.Context, _ es.QueryDef, params any, min es.Revision) (any, es.Revision, error) {
	return e.ask(ctx, params, min)
}

func (e *engine) StateAt(_ context.Context, s es.Stream, r es.Range) (runtime.StateAt, error) {
	return e.stateAt(s, r)
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	schemas, err := schema.New(domain())
	if err != nil {
		t.Fatal(err)
	}
	return &engine{
		domain: domain(), schemas: schemas, metrics: prometheus.NewRegistry(),
		execute: func(r es.Request) es.Reply {
			return es.Reply{CommandID: r.Meta.CommandID, Outcome: es.Accepted, Stream: r.Meta.Stream.String(), Revision: 17, Version: 3,
				Events: []string{"ParcelOpened"}, Durability: es.Fast}
		},
		ask: func(_ context.Context, params any, _ es.Revision) (any, es.Revision, error) {
			if p, ok := params.(parcelParams); ok {
				return parcelAnswer{ParcelID: p.ParcelID, Version: 3}, 20, nil
			}
			return parcelsAnswer{Items: []parcelAnswer{}}, 20, nil
		},
		stateAt: func(s es.Stream, _ es.Range) (runtime.StateAt, error) {
			return runtime.StateAt{Stream: s.String(), Version: 2, Revision: 11, State: parcel{To: "Ada"}}, nil
		},
	}
}

// newDoor is open to everyone, as often as they like, unless opts say otherwise.
func newDoor(t *testing.T, e *engine, opts rest.Options) *rest.Door {
	t.Helper()
	if opts.Authenticator == nil {
		opts.Authenticator = access.Dev()
	}
	if opts.Rate == 0 {
		opts.Rate = -1
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := rest.New(e, opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// call sends one request; headers are "Name: value".
func call(t *testing.T, h http.Handler, method, target, body string, headers ...string) *http.Response {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, content)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func object(t *testing.T, r *http.Response) map[string]any {
	t.Helper()
	var o map[string]any
	if data := text(t, r); json.Unmarshal([]byte(data), &o) != nil {
		t.Fatalf("status %d: want a JSON object, got %q", r.StatusCode, data)
	}
	return o
}
