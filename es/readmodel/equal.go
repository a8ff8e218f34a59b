package readmodel

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Equal compares two models table by table and row by row, the checkpoint included. diff names the rows that differ, one
// a line by its primary key, the first model's values against the second's: twenty of them, and how many more there are;
// "" when there is none. Each model is read in one transaction, so both may be live. The tables in which a full-text
// index keeps itself are left out: how they are cut depends on where transactions ended.
func Equal(ctx context.Context, a, b *Model) (diff string, err error) {
	left, err := a.readers.BeginTx(ctx, nil)
	if err != nil {
		return "", fmt.Errorf("compare read models: %w", err)
	}
	defer func() { err = errors.Join(err, left.Rollback()) }()
	right, err := b.readers.BeginTx(ctx, nil)
	if err != nil {
		return "", fmt.Errorf("compare read models: %w", err)
	}
	defer func() { err = errors.Join(err, right.Rollback()) }()

	d := &differences{}
	schema := table{name: "schema", from: `(SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\')`, columns: []string{"type", "name", "sql"}, key: []int{0, 1}}
	if err := compare(ctx, left, right, schema, d); err != nil || d.found > 0 {
		return d.String(), err
	}
	tables, err := tablesOf(ctx, left)
	if err != nil {
		return "", fmt.Errorf("compare read models: %w", err)
	}
	for _, t := range tables {
		if err := compare(ctx, left, right, t, d); err != nil {
			return "", err
		}
	}
	return d.String(), nil
}

type table struct {
	name    string
	from    string // what is selected from
	columns []string
	key     []int // the columns by which a row is known, in the key's order; all of them where there is no key
}

func (t table) query() string {
	columns, order := make([]string, len(t.columns)), make([]string, len(t.key))
	for i, c := range t.columns {
		columns[i] = quote(c)
	}
	for i, k := range t.key {
		order[i] = columns[k] + " COLLATE BINARY"
	}
	return fmt.Sprintf(`SELECT %s FROM %s ORDER BY %s`, strings.Join(columns, ", "), t.from, strings.Join(order, ", "))
}

func tablesOf(ctx context.Context, t *sql.Tx) ([]table, error) {
	rows, err := t.QueryContext(ctx, `SELECT s.name, c.name, c.pk FROM sqlite_schema s, pragma_table_info(s.name) c
		WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\_%' ESCAPE '\'
			AND s.name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow')
		ORDER BY s.name, c.cid`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tables []table
	places := map[string]map[int]int{} // of the columns in the key, by table: the column's index by its place
	for rows.Next() {
		var name, column string
		var place int
		if err := rows.Scan(&name, &column, &place); err != nil {
			return nil, err
		}
		if places[name] == nil {
			places[name] = map[int]int{}
			tables = append(tables, table{name: "table " + name, from: quote(name)})
		}
		t := &tables[len(tables)-1]
		if place > 0 {
			places[name][place] = len(t.columns)
		}
		t.columns = append(t.columns, column)
		t.key = t.key[:0]
		for i := range len(places[name]) {
			t.key = append(t.key, places[name][i+1])
		}
	}
	for i := range tables {
		if t := &tables[i]; len(t.key) == 0 {
			for k := range t.columns {
				t.key = append(t.key, k)
			}
		}
	}
	return tables, rows.Err()
}

// compare reads a table from both sides, in the order of its key, side by side.
func compare(ctx context.Context, left, right *sql.Tx, t table, d *differences) error {
	l, err := left.QueryContext(ctx, t.query())
	if err != nil {
		return fmt.Errorf("compare %s: %w", t.name, err)
	}
	defer l.Close()
	r, err := right.QueryContext(ctx, t.query())
	if err != nil {
		return fmt.Errorf("compare %s: %w", t.name, err)
	}
	defer r.Close()
	lv, rv, err := both(l, r, true, true)
	for err == nil && (lv != nil || rv != nil) {
		order := t.order(lv, rv)
		switch {
		case order < 0:
			d.add(t, lv, nil)
		case order > 0:
			d.add(t, nil, rv)
		case !slices.EqualFunc(lv, rv, same):
			d.add(t, lv, rv)
		}
		var nextLeft, nextRight []any
		nextLeft, nextRight, err = both(l, r, order <= 0, order >= 0)
		if order <= 0 {
			lv = nextLeft
		}
		if order >= 0 {
			rv = nextRight
		}
	}
	if err != nil {
		return fmt.Errorf("compare %s: %w", t.name, err)
	}
	return nil
}

// both returns the next row of each side that is wanted; nil at its end.
func both(l, r *sql.Rows, left, right bool) (lv, rv []any, err error) {
	if left {
		lv, err = next(l)
	}
	if right && err == nil {
		rv, err = next(r)
	}
	return lv, rv, err
}

// next returns one row's values, nil at the end.
func next(rows *sql.Rows) ([]any, error) {
	if !rows.Next() {
		return nil, rows.Err()
	}
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	return values, rows.Scan(targets...)
}

// order says which of two rows comes first by the key; a row that is not there comes after all others.
func (t table) order(l, r []any) int {
	switch {
	case l == nil:
		return 1
	case r == nil:
		return -1
	}
	for _, k := range t.key {
		if c := compareValues(l[k], r[k]); c != 0 {
			return c
		}
	}
	return 0
}

// compareValues orders as SQLite does: nothing, numbers, texts, bytes.
func compareValues(a, b any) int {
	rank := func(v any) int {
		switch v.(type) {
		case nil:
			return 0
		case int64, float64:
			return 1
		case []byte:
			return 3
		default:
			return 2
		}
	}
	if ra, rb := rank(a), rank(b); ra != rb || ra == 0 {
		return cmp.Compare(ra, rb)
	}
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(float64(a), b.(float64))
	case float64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, float64(b))
		}
		return cmp.Compare(a, b.(float64))
	}
	return strings.Compare(asText(a), asText(b))
}

func same(a, b any) bool {
	return fmt.Sprintf("%T", a) == fmt.Sprintf("%T", b) && compareValues(a, b) == 0
}

func asText(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
