package graphql

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// MarshalDecimal writes a bare number.
func MarshalDecimal(d money.Decimal) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		io.WriteString(w, d.String()) //nolint:errcheck // into a buffer
	})
}

// UnmarshalDecimal reads a number, or a string that holds one, from its text.
func UnmarshalDecimal(v any) (money.Decimal, error) {
	switch v := v.(type) {
	case string: // also a number that stood in the document: see exactNumbers
		return money.Parse(v)
	case json.Number:
		return money.Parse(v.String())
	}
	return money.Decimal{}, errors.New(`must be a decimal number, like 19.99 or "19.99"`)
}

// MarshalInt64 writes a bare number.
func MarshalInt64(n int64) graphql.Marshaler { return graphql.MarshalInt64(n) }

// UnmarshalInt64 reads a whole number.
func UnmarshalInt64(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("must be a whole number")
}

// MarshalUint64 writes a bare number.
func MarshalUint64(n uint64) graphql.Marshaler { return graphql.MarshalUint64(n) }

// UnmarshalUint64 reads a whole number of 0 or more.
func UnmarshalUint64(v any) (uint64, error) {
	if n, err := UnmarshalInt64(v); err == nil && n >= 0 {
		return uint64(n), nil
	}
	return 0, errors.New("must be a whole number of 0 or more")
}

// MarshalRevision writes a bare number.
func MarshalRevision(r es.Revision) graphql.Marshaler { return graphql.MarshalUint64(uint64(r)) }

// UnmarshalRevision reads a whole number of 0 or more.
func UnmarshalRevision(v any) (es.Revision, error) {
	n, err := UnmarshalUint64(v)
	return es.Revision(n), err
}

// MarshalDateTime writes RFC 3339.
func MarshalDateTime(t time.Time) graphql.Marshaler {
	return graphql.MarshalString(t.Format(time.RFC3339Nano))
}

// UnmarshalDateTime reads RFC 3339.
func UnmarshalDateTime(v any) (time.Time, error) {
	if text, ok := v.(string); ok {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("must be an RFC 3339 time like 2026-01-31T12:00:00Z")
}

// MarshalRawJSON writes what is JSON already.
func MarshalRawJSON(raw json.RawMessage) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		w.Write(raw) //nolint:errcheck // into a buffer
	})
}

// UnmarshalRawJSON takes any value back to JSON.
func UnmarshalRawJSON(v any) (json.RawMessage, error) { return json.Marshal(v) }

// MarshalWord writes a value of an enum; the empty text, which stands for none, is null.
func MarshalWord(word string) graphql.Marshaler {
	if word == "" {
		return graphql.Null
	}
	return graphql.MarshalString(word)
}

// UnmarshalWord reads a value of an enum, which validation has found to be one.
func UnmarshalWord(v any) (string, error) { return graphql.UnmarshalString(v) }
