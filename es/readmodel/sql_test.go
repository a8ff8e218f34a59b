package readmodel_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/money"
)

type sold struct {
	Amount money.Decimal  `json:"amount"`
	Big    money.Decimal  `json:"big"`
	Count  int64          `json:"count"`
	Paid   bool           `json:"paid"`
	Name   string         `json:"name,omitempty"`
	Items  []item         `json:"items"`
	More   map[string]any `json:"more,omitempty"`
}

type item struct {
	Price money.Decimal `json:"price"`
}

func (sold) EventType() string { return "Sold" }

var market = []es.EventDef{es.EventOf[sold](1), es.EventOf[noise](1)}

func sqlProjector(t testing.TB, text string) es.Projector {
	t.Helper()
	p, err := es.ParseSQL("market.sql", "market", 1, text, market)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSQLProjectorsBindExactValues(t *testing.T) {
	t.Parallel()
	sale := number(3, 0)
	sale.User, sale.Correlation, sale.Causation = "ada'); DROP TABLE t; --", "cor", "cau"
	sale.Event = sold{
		Amount: money.MustParse("92233720368547758.07"), Big: money.MustParse("9007199254740993"), Count: -7, Paid: true,
		Items: []item{{money.MustParse("0.1")}, {money.MustParse("19.99")}},
	}
	for value, want := range map[string]string{
		`$.data.amount`:               `'92233720368547758.07'`,
		`$.data.big`:                  `9007199254740993`,
		`$.data.count`:                `-7`,
		`$.data.paid`:                 `1`,
		`$.data.name`:                 `NULL`,
		`$.data.items[1].price`:       `'19.99'`,
		`$.data.items[2].price`:       `NULL`,
		`$.data.more.any.thing`:       `NULL`,
		`$.data.items`:                `'[{"price":0.1},{"price":19.99}]'`,
		`minor($.data.amount, 'EUR')`: `9223372036854775807`,
		`'$.data.count' || '$.user'`:  `'$.data.count$.user'`, // quoted: no values
		`$.stream.id`:                 `'s-0'`,
		`$.stream.category`:           `'sum'`,
		`$.type`:                      `'Sold'`,
		`$.time`:                      `'1970-01-01T00:00:03.000000000Z'`,
		`$.version + $.revision`:      `6`,
		`$.id`:                        `'c-3/1'`,
		`$.user`:                      `'ada''); DROP TABLE t; --'`,
		`$.correlation`:               `'cor'`,
		`$.causation`:                 `'cau'`,
		`(SELECT sum(minor(value -> '$.price', 'EUR')) FROM json_each($.data.items))`: `2009`,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			p := sqlProjector(t, "CREATE TABLE t (v);\n-- on Sold\nINSERT INTO t VALUES ("+value+");")
			m, err := readmodel.Open(t.TempDir(), p)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			apply(t, m, batchOf(sale))
			var got string
			if err := m.DB().QueryRowContext(t.Context(), `SELECT quote(v) FROM t`).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %s (%v), want %s", value, got, err, want)
			}
		})
	}
}

func TestSQLThatDoesNotCompileIsFoundWhenTheModelIsOpened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"the tables":     {"CREATE TABLE t (v);\nCREATE TABEL u (v);\n-- on Sold\nDELETE FROM t;", `market.sql:2: near "TABEL"`},
		"a statement":    {"CREATE TABLE t (v);\n-- on Sold\nDELETE FROM t;\n\nINSERT INTO t\nVALUSE (1);", `market.sql:5: near "VALUSE"`},
		"a column":       {"CREATE TABLE t (v);\n-- on Sold\nUPDATE t SET w = $.data.count;", `market.sql:3: no such column: w`},
		"a function":     {"CREATE TABLE t (v);\n-- on Sold\nINSERT INTO t VALUES (minr($.data.amount, 'EUR'));", `market.sql:3: no such function: minr`},
		"all are listed": {"CREATE TABLE t (v);\n-- on Sold\nDELETE FROM u;\nDELETE FROM w;", `market.sql:4: no such table: w`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := readmodel.Open(t.TempDir(), sqlProjector(t, c.text))
			if !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v %v, want a permanent error that says %s", m, err, c.want)
			}
		})
	}
}

func TestSchemasWithTriggersAndCommentsWork(t *testing.T) {
	t.Parallel()
	p := sqlProjector(t, `CREATE TABLE t (v); -- a comment with a ; in it
CREATE TABLE log (v, old);
CREATE TRIGGER keep AFTER UPDATE ON t BEGIN
	INSERT INTO log VALUES (CASE WHEN new.v > 1 THEN 'many' ELSE 'one' END, old.v);
	INSERT INTO log VALUES ('-- on Nothing', 2); /* ; */
END
-- on Sold
INSERT INTO t SELECT 0 WHERE NOT EXISTS (SELECT * FROM t);
UPDATE t SET v = v + 1;`)
	m := open(t, t.TempDir(), p)
	for r := es.Revision(1); r <= 2; r++ {
		sale := number(r, 0)
		sale.Event = sold{}
		apply(t, m, batchOf(sale))
	}
	var v, lines int
	if err := m.DB().QueryRowContext(t.Context(), `SELECT v, (SELECT count(*) FROM log) FROM t`).Scan(&v, &lines); err != nil || v != 2 || lines != 4 {
		t.Errorf("%d, %d lines (%v), want 2 and 4", v, lines, err)
	}
}

func TestAReportAppearsWhenItIsWhole(t *testing.T) {
	t.Parallel()
	out := t.TempDir() + "/report.db"
	r, err := readmodel.NewReport(out, sums())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, r.Model, batch(1, 5))
	if err := r.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := list(t, out[:len(out)-len("/report.db")]); len(left) != 1 || left[0] != "report.db" {
		t.Errorf("the directory holds %v, want the report alone", left)
	}
	again, err := readmodel.NewReport(out, sums())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Discard(); err != nil {
		t.Fatal(err)
	}
	if left := list(t, out[:len(out)-len("/report.db")]); len(left) != 1 {
		t.Errorf("after a report that was given up the directory holds %v, want the one before", left)
	}
}

func TestQuestionsAreInterrupted(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := m.Ask(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n`, readmodel.Limits{})
	if !errors.Is(err, es.ErrTransient) {
		t.Errorf("an endless question: %v, want a transient error", err)
	}
	table, err := m.Ask(t.Context(), `SELECT 'abcdefghij' FROM json_each('[1,2,3]')`, readmodel.Limits{Bytes: 60})
	if err != nil || len(table.Rows) != 2 || !table.More {
		t.Errorf("%+v, %v; want two rows and more", table, err)
	}
}
