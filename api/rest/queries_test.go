package rest_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

func TestQueryParametersAreDecoded(t *testing.T) {
	t.Parallel()
	yes := true
	for target, want := range map[string]any{
		"/parcels":                                              parcelsParams{},
		"/parcels?limit=5&cursor=null":                          parcelsParams{page: page{Limit: 5, Cursor: "null"}},
		"/parcels?status=A&status=B%20C&weight=.5":              nil,
		"/parcels?status=A&status=B%20C&weight=0.5&sealed=true": parcelsParams{Status: []string{"A", "B C"}, Weigh: 0.5, Sealed: &yes},
		"/parcels?from=2026-01-31T12:00:00Z":                    parcelsParams{From: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
		"/parcels/p-1":                                          parcelParams{ParcelID: "p-1"},
		"/boxes/b-1/history":                                    historyParams{Collection: "boxes", ID: "b-1"},
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			var got any
			answer := e.ask
			e.ask = func(ctx context.Context, params any, min es.Revision) (any, es.Revision, error) {
				got = params
				return answer(ctx, params, min)
			}
			r := call(t, newDoor(t, e, rest.Options{}), "GET", target, "")
			if want != nil && r.StatusCode != 200 || want == nil && r.StatusCode != 400 {
				t.Errorf("got %d %s", r.StatusCode, text(t, r))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestAZoneMayBeWrittenUnescaped(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.stateAt = func(_ es.Stream, r es.Range) (runtime.StateAt, error) {
		if want := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC); !r.AsOf.Equal(want) {
			t.Errorf("as of %s", r.AsOf)
		}
		return runtime.StateAt{}, nil
	}
	if r := call(t, newDoor(t, e, rest.Options{}), "GET", "/boxes/b-1?asOf=2026-01-31T12:00:00+02:00", ""); r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
}

func TestAnAnswerCarriesItsVersionAndRevision(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{})
	r := call(t, h, "GET", "/parcels/p-1", "")
	if got := strings.TrimSpace(text(t, r)); r.StatusCode != 200 || got != `{"parcelId":"p-1","version":3}` {
		t.Errorf("got %d %s", r.StatusCode, got)
	}
	if r.Header.Get("Millstream-Revision") != "20" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v", r.Header)
	}
}

func TestAnAnswersTagStandsForTheWhole(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	id := "p-1"
	e.ask = func(context.Context, any, es.Revision) (any, es.Revision, error) {
		return parcelAnswer{ParcelID: id, Version: 3}, 20, nil
	}
	h := newDoor(t, e, rest.Options{})
	tag := call(t, h, "GET", "/parcels/p-1", "").Header.Get("ETag")
	if !strings.HasPrefix(tag, `"3.`) {
		t.Fatalf("the tag %s does not begin with the version", tag)
	}
	zipped := strings.TrimSuffix(tag, `"`) + `-gzip"`
	for known, status := range map[string]int{tag: 304, "W/" + tag: 304, zipped: 304, `"1", ` + tag: 304, `*`: 304, `"3"`: 200, `"2"`: 200, `3`: 200} {
		if r := call(t, h, "GET", "/parcels/p-1", "", "If-None-Match: "+known); r.StatusCode != status {
			t.Errorf("If-None-Match %s: got %d, want %d", known, r.StatusCode, status)
		}
	}
	id = "joined anew" // at the same version
	if r := call(t, h, "GET", "/parcels/p-1", "", "If-None-Match: "+tag); r.StatusCode != 200 || r.Header.Get("ETag") == tag {
		t.Errorf("another answer: got %d with tag %s", r.StatusCode, r.Header.Get("ETag"))
	}
	if r := call(t, h, "GET", "/parcels/p-1", ""); !strings.HasPrefix(r.Header.Get("ETag"), `"3.`) {
		t.Errorf("the tag is %s", r.Header.Get("ETag"))
	}
}

func TestAListLeadsToItsNextPage(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	next := "b&c"
	e.ask = func(context.Context, any, es.Revision) (any, es.Revision, error) {
		return parcelsAnswer{Items: []parcelAnswer{}, NextCursor: next}, 20, nil
	}
	h := newDoor(t, e, rest.Options{})
	for target, want := range map[string]string{
		"/parcels":                            `</parcels?cursor=b%26c>; rel="next"`,
		"/parcels?status=A&status=B&cursor=a": `</parcels?cursor=b%26c&status=A&status=B>; rel="next"`,
		"/boxes/b-1/history":                  "", // takes no cursor
	} {
		if got := call(t, h, "GET", target, "").Header.Get("Link"); got != want {
			t.Errorf("%s: Link %s, want %s", target, got, want)
		}
	}
	next = ""
	if got := call(t, h, "GET", "/parcels", "").Header.Get("Link"); got != "" {
		t.Errorf("the last page leads to %s", got)
	}
}

func TestEveryBadParameterIsNamed(t *testing.T) {
	t.Parallel()
	r := call(t, newDoor(t, newEngine(t), rest.Options{}), "GET", "/parcels?limit=ten&sealed=yes&colour=red", "")
	o := object(t, r)
	var pointers []string
	for _, f := range o["errors"].([]any) {
		pointers = append(pointers, f.(map[string]any)["pointer"].(string))
	}
	slices.Sort(pointers)
	if r.StatusCode != 400 || !slices.Equal(pointers, []string{"", "/limit", "/sealed"}) {
		t.Errorf("got %d %v", r.StatusCode, o)
	}
}

func TestAQueryWaitsForTheRevisionDemanded(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var least es.Revision
	answer := e.ask
	e.ask = func(ctx context.Context, params any, min es.Revision) (any, es.Revision, error) {
		least = min
		if _, bounded := ctx.Deadline(); bounded != (min > 0) {
			t.Errorf("min %d: a deadline is %v", min, bounded)
		}
		if min > 100 {
			<-ctx.Done()
			return nil, 20, es.Transient(ctx.Err())
		}
		return answer(ctx, params, min)
	}
	h := newDoor(t, e, rest.Options{MaxWait: 10 * time.Millisecond})
	for target, want := range map[string]es.Revision{"/parcels": 7, "/parcels?minRevision=9": 9, "/parcels?minRevision=5": 7} {
		call(t, h, "GET", target, "", "Millstream-Revision: 7")
		if least != want {
			t.Errorf("%s: waited for %d, want %d", target, least, want)
		}
	}
	call(t, h, "GET", "/parcels", "")
	r := call(t, h, "GET", "/parcels?minRevision=101", "")
	if r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || r.Header.Get("Millstream-Revision") != "20" || !strings.Contains(text(t, r), "revision_not_reached") {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
}

func TestStateIsFoldedFromTheLog(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var stream es.Stream
	var upTo es.Range
	answer := e.stateAt
	e.stateAt = func(s es.Stream, r es.Range) (runtime.StateAt, error) { stream, upTo = s, r; return answer(s, r) }
	h := newDoor(t, e, rest.Options{})
	for target, want := range map[string]es.Range{
		"/parcels/x?asOf=5":                    {UpTo: 5},
		"/boxes/x?asOf=5":                      {UpTo: 5},
		"/boxes/x":                             {},
		"/parcels/x?asOf=2026-01-31T12:00:00Z": {AsOf: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
	} {
		r := call(t, h, "GET", target, "")
		if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("ETag"), `"2.`) || r.Header.Get("Millstream-Revision") != "11" || upTo != want || stream.ID != "x" {
			t.Errorf("%s: got %d %v %+v", target, r.StatusCode, r.Header, upTo)
		}
		if o := object(t, r); o["stream"] != stream.String() || o["version"] != 2.0 || !cmp.Equal(o["state"], map[string]any{"to": "Ada"}) {
			t.Errorf("%s: got %v", target, o)
		}
	}
}
