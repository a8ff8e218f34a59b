package es_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
)

type bought struct {
	Product string            `json:"product"`
	Price   price             `json:"price"`
	Lines   []line            `json:"lines"`
	Notes   map[string]string `json:"notes,omitempty"`
}

type line struct {
	Quantity int64 `json:"quantity"`
}

type price string

func (p price) MarshalJSON() ([]byte, error) { return []byte(p), nil }

type returned struct{}

func (bought) EventType() string   { return "Bought" }
func (returned) EventType() string { return "Returned" }

var shop = []es.EventDef{es.EventOf[bought](1), es.EventOf[returned](1)}

const table = "CREATE TABLE t (a, b, c);\n"

func TestSQLProjectorsHandleWhatTheyNameAndIgnoreTheRest(t *testing.T) {
	t.Parallel()
	p, err := es.ParseSQL("shop.sql", "shop", 1, table+"-- a comment\n-- on Bought\nINSERT INTO t VALUES ($.data.product, $.data.lines[0].quantity, $.data.notes.any);", shop)
	if err != nil {
		t.Fatal(err)
	}
	if err := (es.Domain{Events: shop, Projectors: []es.Projector{p}}).Validate(); err != nil {
		t.Error(err)
	}
	if !p.Interest.Has("Bought") || p.Interest.Has("Returned") {
		t.Errorf("the interest is %+v", p.Interest)
	}
	other, err := es.ParseSQL("shop.sql", "shop", 1, table+"-- on Bought\nINSERT INTO t VALUES (1, 2, 3);", shop)
	if err != nil || other.Key() == p.Key() {
		t.Errorf("other statements must have another key: %s, %v", other.Key(), err)
	}
}

func TestSQLProjectorsFaultsNameFileLineAndCause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"an unknown event":        {table + "-- on Bougth\nDELETE FROM t;", `shop.sql:2: unknown event type "Bougth": did you mean Bought?`},
		"an unknown value":        {table + "-- on Bought\nDELETE FROM t\nWHERE a = $.straem.id;", `shop.sql:4: unknown value "$.straem.id": did you mean $.stream.id?`},
		"an unknown field":        {table + "-- on Bought\nDELETE FROM t WHERE a = $.data.prodct;", `shop.sql:3: $.data.prodct: Bought has no field "prodct": did you mean product?`},
		"a field of a value":      {table + "-- on Bought\nDELETE FROM t WHERE a = $.data.price.amount;", `shop.sql:3: $.data.price.amount: Bought has no field "amount"`},
		"a parameter of SQLite's": {table + "-- on Bought\nDELETE FROM t WHERE a = :x;", `shop.sql:3: parameter :x: values are written like`},
		"no table":                {"-- on Bought\nDELETE FROM t;", `shop.sql:1: there is no CREATE TABLE`},
		"no event":                {table, `shop.sql:1: no line "-- on EVENT"`},
		"no statement":            {table + "-- on Bought\n-- on Returned\nDELETE FROM t;", `shop.sql:2: on Bought: no statement follows`},
		"an event twice":          {table + "-- on Bought\nDELETE FROM t;\n-- on Bought\nDELETE FROM t;", `shop.sql:4: event type Bought has statements already`},
		"a statement of another kind": {table + "-- on Bought\nPRAGMA journal_mode = OFF;",
			`shop.sql:3: a statement here begins with INSERT, REPLACE, UPDATE, DELETE, WITH, found "PRAGMA"`},
		"a value in the schema": {"CREATE TABLE t (a DEFAULT $.time);\n-- on Bought\nDELETE FROM t;", `shop.sql:1: $.time: values of events stand below`},
		"a clock":               {table + "-- on Bought\nINSERT INTO t (a) VALUES (CURRENT_TIMESTAMP);", `shop.sql:3: CURRENT_TIMESTAMP gives something else`},
		"another clock":         {table + "-- on Bought\nINSERT INTO t (a) VALUES (date('now'));", `shop.sql:3: 'now' gives something else`},
		"the engine's tables":   {table + "-- on Bought\nDELETE FROM \"millstream_checkpoint\";", `shop.sql:3: names that begin with millstream_`},
		"an open text":          {table + "-- on Bought\nDELETE FROM t WHERE a = 'x;", `shop.sql:3: a text in ' has no end`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := es.ParseSQL("shop.sql", "shop", 1, c.text, shop)
			if !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a permanent error that says %s", err, c.want)
			}
		})
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := es.ParseSQL("shop.sql", "shop", 1, table+"-- on Bougth\nDELETE FROM t WHERE a = ?;\n-- on Retuned\nVACUUM;", shop)
	if err == nil || strings.Count(err.Error(), "shop.sql:") != 4 {
		t.Errorf("got %v, want four faults", err)
	}
}

func FuzzParseSQL(f *testing.F) {
	for _, text := range []string{
		table + "-- on Bought\nINSERT INTO t VALUES ($.data.product, $.data.lines[0].quantity, '$.time');",
		"CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; SELECT CASE WHEN 1 THEN 2 END; END;", "$.", "$.data[", "/*", "--", "[a", "-- on ", "$.data.lines[99999999999999999999]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := es.ParseSQL("f.sql", "f", 1, text, shop)
		if err == nil && (p.Apply == nil || p.Schema == "" || len(p.Interest.Handles) == 0) {
			t.Errorf("%q gives %+v", text, p)
		}
		if err != nil && !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%q: %v is not permanent", text, err)
		}
	})
}
