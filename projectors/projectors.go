// Package projectors folds the log into read models, one file (and one .sql beside it) a thing. Amounts are INTEGER
// minor units beside a currency, times are UTC text of fixed width that sorts, and nothing here reads a clock: the
// same log gives the same rows. What is personal in an event is personal in these rows; the events are the source.
package projectors

import (
	"context"
	"fmt"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// All lists every projector of the domain.
var All = []es.Projector{Orders, Customers, Stock, Payments, Sales, Accounts, Search, Mails, Audit}

// minor returns an amount in minor units. An event with an unknown currency or too many decimals got past the
// command that should have refused it: permanent.
func minor(amount money.Decimal, currency string) (int64, error) {
	units, err := money.Money{Amount: amount, Currency: currency}.Minor()
	return units, es.Permanent(err)
}

// exec runs statements that return nothing.
func exec(ctx context.Context, tx es.Tx, query string, args ...any) error {
	_, err := tx.ExecContext(ctx, query, args...)
	return err
}

// execOne runs a statement that must change exactly one row: the thing that r is about.
func execOne(ctx context.Context, tx es.Tx, r es.Recorded, query string, args ...any) error {
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if changed != 1 {
		return es.Permanent(fmt.Errorf("%s found %d rows for %s, 1 was expected: its first event is missing from the log", r.EventType(), changed, r.Stream))
	}
	return nil
}

// unhandled is the answer to an event that stands in Handles but in no case.
func unhandled(r es.Recorded) error {
	return es.Permanent(fmt.Errorf("event %s is listed as handled and is not", r.EventType()))
}
