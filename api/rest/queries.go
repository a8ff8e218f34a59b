package rest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
)

var wildcard = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}`)

// shape makes paths comparable that differ only in the names of their wildcards.
func shape(path string) string { return wildcard.ReplaceAllString(path, "{}") }

// addReads adds GET for every query, and GET /{collection}/{id}?asOf= for every aggregate: on the query of that
// path where there is one, else as a route of its own.
func (d *Door) addReads() error {
	aggregates := map[string]es.Aggregate{}
	for _, a := range d.domain.Aggregates {
		aggregates["/"+a.Collection()+"/{}"] = a
	}
	for _, q := range d.domain.Queries {
		params, err := newParams(q.Params(), q.Result(), q.QueryPath())
		if err != nil {
			return fmt.Errorf("query %s: %w", q.QueryName(), err)
		}
		a := aggregates[shape(q.QueryPath())]
		if a != nil {
			params.door = append(params.door, "asOf")
		}
		delete(aggregates, shape(q.QueryPath()))
		op, err := d.queryOperation(q, params, a)
		if err != nil {
			return err
		}
		ask, g := d.query(q, params), guard{operation: access.QueryAsk, target: q.QueryName()}
		if a == nil {
			d.register(op, g, ask)
			continue
		}
		g.asks = []access.Operation{access.QueryAsk, access.AggregateRead}
		name := func(*http.Request) string { return q.QueryName() }
		category := func(*http.Request) string { return a.Category() }
		now := asking(access.QueryAsk, name, ask)
		past := asking(access.AggregateRead, category, d.state(a, strings.Trim(wildcard.FindString(q.QueryPath()), "{}")))
		d.register(op, g, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("asOf") {
				past(w, r)
			} else {
				now(w, r)
			}
		})
	}
	for _, a := range d.domain.Aggregates {
		if aggregates["/"+a.Collection()+"/{}"] == nil {
			continue
		}
		op, err := d.stateOperation(a)
		if err != nil {
			return err
		}
		d.register(op, guard{operation: access.AggregateRead, target: a.Category()}, d.state(a, "id"))
	}
	return nil
}

func (d *Door) query(q es.QueryDef, params *params) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			WriteError(w, r, malformed("", "the query string does not parse: %v", err))
			return
		}
		least, err := minRevision(r.Header, query)
		if err != nil {
			WriteError(w, r, err)
			return
		}
		query.Del("minRevision")
		p, err := params.decode(r.PathValue, query)
		if err != nil {
			WriteError(w, r, err)
			return
		}
		ctx := r.Context()
		if least > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, d.opts.MaxWait)
			defer cancel()
		}
		answer, at, err := d.engine.Ask(ctx, q, p, least)
		setRevision(w, at)
		if err != nil && least > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			WriteProblem(w, r, &es.Problem{Status: http.StatusServiceUnavailable, Code: "revision_not_reached",
				Message: fmt.Sprintf("the read model did not reach revision %d within %s: ask again", least, d.opts.MaxWait)})
			return
		}
		if err != nil {
			WriteError(w, r, err)
			return
		}
		if next := params.nextPage(r.URL, answer); next != "" {
			w.Header().Set("Link", next)
		}
		version := ""
		if v, ok := answer.(es.Versioned); ok {
			version = strconv.FormatUint(v.StreamVersion(), 10)
		}
		writeAnswer(w, r, version, answer)
	}
}

// minRevision is what ?minRevision= or the header Millstream-Revision demands, the greater of the two.
func minRevision(h http.Header, query url.Values) (es.Revision, error) {
	header, err := single(h, "Millstream-Revision")
	if err != nil {
		return 0, err
	}
	least, err := revision("", "header Millstream-Revision", header)
	if err != nil {
		return 0, err
	}
	values := query["minRevision"]
	if len(values) > 1 {
		return 0, malformed("/minRevision", "minRevision is given %d times: give it once", len(values))
	}
	for _, text := range values {
		asked, err := revision("/minRevision", "minRevision", text)
		if err != nil {
			return 0, err
		}
		least = max(least, asked)
	}
	return least, nil
}

func revision(pointer, name, text string) (es.Revision, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, malformed(pointer, "%s must be an integer of 0 or more, found %q", name, clip(text))
	}
	return es.Revision(n), nil
}

// writeAnswer sends JSON about an aggregate at a version ("": about several, or none), or 304 when the caller has it.
func writeAnswer(w http.ResponseWriter, r *http.Request, version string, body any) {
	data := encode(body)
	tag := etag(version, data)
	w.Header().Set("Cache-Control", "private, no-cache")
	w.Header().Set("ETag", tag)
	if matches(r.Header, tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	write(w, http.StatusOK, "application/json", data)
}

// state answers with an aggregate folded from the log: as it is, or as it was at ?asOf=.
func (d *Door) state(a es.Aggregate, wildcard string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream := es.Stream{Category: a.Category(), ID: r.PathValue(wildcard)}
		upTo, err := asOf(r.URL.RawQuery)
		if err == nil {
			err = stream.Validate()
		}
		if err != nil {
			WriteError(w, r, err)
			return
		}
		s, err := d.engine.StateAt(r.Context(), stream, upTo)
		if err != nil {
			WriteError(w, r, err)
			return
		}
		setRevision(w, s.Revision)
		writeAnswer(w, r, strconv.FormatUint(s.Version, 10), s)
	}
}

// asOf reads ?asOf=<revision or RFC 3339 time>; without it the range has no bound.
func asOf(rawQuery string) (es.Range, error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return es.Range{}, malformed("", "the query string does not parse: %v", err)
	}
	values := query["asOf"]
	query.Del("asOf")
	for _, name := range slices.Sorted(maps.Keys(query)) {
		return es.Range{}, malformed("", "unknown query parameter %q: a state takes asOf alone", clip(name))
	}
	switch len(values) {
	case 0:
		return es.Range{}, nil
	case 1:
	default:
		return es.Range{}, malformed("/asOf", "asOf is given %d times: give it once", len(values))
	}
	if n, err := strconv.ParseUint(values[0], 10, 64); err == nil && n > 0 {
		return es.Range{UpTo: es.Revision(n)}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, plus(values[0])); err == nil {
		return es.Range{AsOf: t}, nil
	}
	return es.Range{}, malformed("/asOf", "asOf must be a revision of 1 or more or an RFC 3339 time like 2026-01-31T12:00:00Z, found %q", clip(values[0]))
}

// plus puts back the + of a time zone, which an unescaped query string turns into a space.
func plus(text string) string { return strings.ReplaceAll(text, " ", "+") }
