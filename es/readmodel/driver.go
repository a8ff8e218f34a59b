package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/mattn/go-sqlite3"

	"github.com/millstream-es/millstream/es"
	_ "github.com/millstream-es/millstream/es/readmodel/needcgo" // without cgo, the build says what to install
	"github.com/millstream-es/millstream/money"
)

const driverName = "millstream-sqlite3"

// A write-ahead log that once grew large (a rebuild swapped in) is cut back to this when it starts over.
const walLimit = 64 << 20

func init() {
	sql.Register(driverName, &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		if err := c.RegisterFunc("minor", minor, true); err != nil {
			return err
		}
		if err := c.RegisterFunc("bm25", bm25, true); err != nil {
			return err
		}
		_, err := c.Exec(fmt.Sprintf(`PRAGMA journal_size_limit = %d`, walLimit), nil)
		return err
	}})
}

// minor is the SQL function minor(amount, currency): a decimal as text to INTEGER minor units, exactly.
// minor('19.99', 'USD') is 1999. NULL gives NULL. A REAL is refused, since it is not exact any more: take a number
// out of JSON with data -> '$.amount' (its text), not with ->> or json_extract.
func minor(amount, currency any) (any, error) {
	if null(amount) || null(currency) {
		return nil, nil
	}
	written, exact := text(amount)
	if whole, ok := amount.(int64); ok {
		written, exact = strconv.FormatInt(whole, 10), true
	}
	code, ok := text(currency)
	if !ok || !exact {
		return nil, fmt.Errorf("minor: an amount as text such as '19.99' and a currency were expected, found %T and %T: take numbers out of JSON with ->", amount, currency)
	}
	value, err := money.Parse(written)
	if err != nil {
		return nil, fmt.Errorf("minor: %w", err)
	}
	units, err := money.Money{Amount: value, Currency: code}.Minor()
	if err != nil {
		return nil, fmt.Errorf("minor: %w", err)
	}
	return units, nil
}

// null: the driver hands over SQL's NULL as a nil []byte.
func null(v any) bool {
	b, ok := v.([]byte)
	return v == nil || ok && b == nil
}

func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}

// classify marks an error that nobody has marked yet: what the disk, a lock or the caller's context did may be
// different next time, anything else is code or data.
func classify(err error) error {
	for _, kind := range []error{es.ErrTransient, es.ErrPermanent, es.ErrRejected} {
		if errors.Is(err, kind) {
			return err
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return es.Transient(err)
	}
	if found, ok := errors.AsType[sqlite3.Error](err); ok {
		switch found.Code {
		case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrNomem,
			sqlite3.ErrCantOpen, sqlite3.ErrInterrupt, sqlite3.ErrReadonly:
			return es.Transient(err)
		case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
			return es.Permanent(fmt.Errorf("the file is damaged, opening it anew sets it aside and rebuilds: %w", err))
		}
	}
	return es.Permanent(err)
}
