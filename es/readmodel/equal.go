package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Equal compares two models table by table and row by row, the checkpoint included. diff names the first
// difference ("" when there is none). Each model is read in one transaction, so both may be live. The tables in which
// a full-text index keeps itself are left out: how they are cut depends on where transactions ended.
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

	schema := `SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type, name`
	if diff, err := compare(ctx, left, right, "schema", schema); diff != "" || err != nil {
		return diff, err
	}
	tables, err := tableColumns(ctx, left)
	if err != nil {
		return "", fmt.Errorf("compare read models: %w", err)
	}
	for _, t := range tables {
		query := fmt.Sprintf(`SELECT %[1]s FROM %[2]s ORDER BY %[1]s`, t.columns, quote(t.name))
		if diff, err := compare(ctx, left, right, "table "+t.name, query); diff != "" || err != nil {
			return diff, err
		}
	}
	return "", nil
}

type table struct{ name, columns string }

func tableColumns(ctx context.Context, t *sql.Tx) ([]table, error) {
	rows, err := t.QueryContext(ctx, `SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c
		WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\_%' ESCAPE '\'
			AND s.name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow')
		ORDER BY s.name, c.cid`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tables []table
	for rows.Next() {
		var name, column string
		if err := rows.Scan(&name, &column); err != nil {
			return nil, err
		}
		if last := len(tables) - 1; last >= 0 && tables[last].name == name {
			tables[last].columns += ", " + quote(column)
		} else {
			tables = append(tables, table{name, quote(column)})
		}
	}
	return tables, rows.Err()
}

// compare reads the same ordered query from both sides, side by side.
func compare(ctx context.Context, left, right *sql.Tx, what, query string) (diff string, err error) {
	l, err := left.QueryContext(ctx, query)
	if err != nil {
		return "", fmt.Errorf("compare %s: %w", what, err)
	}
	defer l.Close()
	r, err := right.QueryContext(ctx, query)
	if err != nil {
		return "", fmt.Errorf("compare %s: %w", what, err)
	}
	defer r.Close()
	for n := 1; ; n++ {
		lv, err := next(l)
		if err != nil {
			return "", fmt.Errorf("compare %s: %w", what, err)
		}
		rv, err := next(r)
		if err != nil {
			return "", fmt.Errorf("compare %s: %w", what, err)
		}
		if !reflect.DeepEqual(lv, rv) {
			return fmt.Sprintf("%s, row %d: %s against %s", what, n, show(lv), show(rv)), nil
		}
		if lv == nil {
			return "", nil
		}
	}
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

func show(row []any) string {
	if row == nil {
		return "no such row"
	}
	return fmt.Sprintf("%v", row)
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
