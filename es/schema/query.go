package schema

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/millstream-es/millstream/es"
)

// Query is one query of the domain, with what a door needs to check and read its parameters as a JSON body.
type Query struct {
	es.QueryDef
	Body
}

func newQuery(def es.QueryDef) (*Query, error) {
	body, err := newBody("query:///"+def.QueryName(), def.Params())
	return &Query{def, body}, err
}

// Decode checks the parameters against the schema and reads them. It returns an *es.InvalidError as Command.Decode does.
func (q *Query) Decode(data []byte) (params any, err error) {
	value, body, err := q.check(data)
	if err != nil {
		return nil, err
	}
	v := reflect.New(q.Params())
	if err := json.Unmarshal(body, v.Interface()); err != nil {
		return nil, blame(q.Params(), value, err)
	}
	return v.Elem().Interface(), nil
}

// Query finds a query by its name on the wire. *es.InvalidError unknown_query: there is none.
func (r *Registry) Query(name string) (*Query, error) {
	known := make([]string, 0, len(r.queries))
	for _, q := range r.queries {
		if q.QueryName() == name {
			return q, nil
		}
		known = append(known, q.QueryName())
	}
	return nil, &es.InvalidError{Code: "unknown_query", Message: unknown("query", name, known)}
}

// Queries are the domain's queries, in order of definition.
func (r *Registry) Queries() []*Query { return r.queries }

func (r *Registry) addQueries(defs []es.QueryDef) (faults []error) {
	for _, def := range defs {
		q, err := newQuery(def)
		if err != nil {
			faults = append(faults, fmt.Errorf("query %s: %w", def.QueryName(), err))
			continue
		}
		r.queries = append(r.queries, q)
	}
	return faults
}
