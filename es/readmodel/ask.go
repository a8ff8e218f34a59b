package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/millstream-es/millstream/es"
)

// Table is an answer to a question in SQL. Values are nil, int64, float64, string, bool or a time's text; bytes are
// given as text.
type Table struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	More    bool     `json:"more"` // there were more rows, or they were larger, than was allowed
}

// Limits bound an answer; zero means no bound.
type Limits struct {
	Rows  int
	Bytes int // of text, about
}

// Ask puts a question in SQL to the model, on a connection of its own that may read the model's tables and nothing
// else: no other file, no setting, no write. What is wrong with the question is an es.InvalidError.
func (m *Model) Ask(ctx context.Context, question string, most Limits) (answer Table, err error) {
	db, err := sql.Open(driverName, readerDSN(m.path))
	if err != nil {
		return answer, classify(fmt.Errorf("read model %s: %w", m.projector.Name, err))
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return answer, classify(fmt.Errorf("read model %s: %w", m.projector.Name, err))
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	err = conn.Raw(func(c any) error {
		c.(*sqlite3.SQLiteConn).RegisterAuthorizer(onlyRead)
		return nil
	})
	if err != nil {
		return answer, classify(fmt.Errorf("read model %s: %w", m.projector.Name, err))
	}
	rows, err := conn.QueryContext(ctx, question)
	if err != nil {
		return answer, judgeQuestion(ctx, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if answer.Columns, err = rows.Columns(); err != nil {
		return answer, judgeQuestion(ctx, err)
	}
	answer.Rows = [][]any{}
	for size := 0; ; {
		row, err := next(rows)
		if err != nil {
			return answer, judgeQuestion(ctx, err)
		}
		if row == nil {
			return answer, nil
		}
		for i, v := range row {
			switch v := v.(type) {
			case []byte:
				row[i] = string(v)
				size += len(v)
			case string:
				size += len(v)
			case float64:
				if math.IsInf(v, 0) { // which JSON has no number for
					row[i] = fmt.Sprint(v)
				}
			case time.Time: // the driver's reading of a column declared as DATE or TIMESTAMP
				row[i] = v.UTC().Format(time.RFC3339Nano)
			}
			size += 16
		}
		if most.Rows > 0 && len(answer.Rows) == most.Rows || most.Bytes > 0 && size > most.Bytes {
			answer.More = true
			return answer, nil
		}
		answer.Rows = append(answer.Rows, row)
	}
}

func judgeQuestion(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return es.Transient(fmt.Errorf("the question was not answered in time: %w", context.Cause(ctx)))
	}
	if found, ok := errors.AsType[sqlite3.Error](err); ok {
		switch found.Code {
		case sqlite3.ErrAuth:
			return &es.InvalidError{Code: "malformed", Message: "only SELECT is answered, from the model's own tables: " + found.Error()}
		case sqlite3.ErrError:
			return &es.InvalidError{Code: "malformed", Message: found.Error()}
		}
	}
	return classify(err)
}

const actionRecursive = 33 // SQLITE_RECURSIVE of sqlite3.h, which the driver does not name

// onlyRead is SQLite's question to us before each part of a statement.
func onlyRead(action int, name, _, _ string) int {
	switch action {
	case sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, actionRecursive:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_PRAGMA:
		if name == "table_info" || name == "table_list" || name == "table_xinfo" {
			return sqlite3.SQLITE_OK
		}
	}
	return sqlite3.SQLITE_DENY
}
