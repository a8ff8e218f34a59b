// Package commands holds the wishes of the domain and what decides on them, one file a thing: commands, state,
// Decide, Evolve and rejections. Decisions are pure. The shape of a command (required fields, bounds, patterns) stands
// in its jsonschema tags and is checked before Decide is asked; Decide checks what the business says.
package commands

import (
	"errors"
	"fmt"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// All lists every aggregate of the domain.
var All = []es.Aggregate{Orders, Stocks, Payments, Customers, Mails, Accounts, Transfers}

// Rejections that several aggregates share.
var (
	ErrUnknownCurrency  = es.Rejected("unknown_currency", "currency must be a code of ISO 4217, like USD")
	ErrCurrencyMismatch = es.Rejected("currency_mismatch", "the currency is another one than that of the order or account")
	ErrTooManyDecimals  = es.Rejected("too_many_decimals", "the amount has more decimals than its currency")
	ErrAmountOutOfRange = es.Rejected("amount_out_of_range", "the amount is too large")
	ErrDateOutOfRange   = es.Rejected("date_out_of_range", "the date must lie between the years 1900 and 2999")
)

// checkAmount refuses an amount that its currency cannot express. pointer is the amount's place in the command.
func checkAmount(amount money.Decimal, currency, pointer string) error {
	_, err := money.Money{Amount: amount, Currency: currency}.Minor()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, money.ErrUnknownCurrency):
		return ErrUnknownCurrency.With("%q is not a currency of ISO 4217, like USD", currency).At("/currency")
	case errors.Is(err, money.ErrTooManyDecimals):
		digits, _ := money.Digits(currency)
		return ErrTooManyDecimals.With("%s has %d decimals, %s has %d", amount, amount.Scale(), currency, digits).At(pointer)
	default:
		return ErrAmountOutOfRange.With("%s %s is too large to be an amount", amount, currency).At(pointer)
	}
}

// given returns an optional time of a command in UTC, or the door's time when it is absent. The bounds keep it
// writable as RFC 3339 in every time zone.
func given(at *time.Time, meta es.Meta, pointer string) (time.Time, error) {
	if at == nil {
		return meta.Time.UTC().Round(0), nil // without the monotonic clock, as it will be read from the log
	}
	if t := at.UTC(); t.Year() >= 1900 && t.Year() <= 2999 {
		return t, nil
	}
	return time.Time{}, ErrDateOutOfRange.At(pointer)
}

func unknownCommand(c es.Command) error {
	return es.Permanent(fmt.Errorf("command %T has no decision: add it to Decide", c))
}
