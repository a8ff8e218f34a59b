// Package money holds exact decimal numbers and the currencies they count in. No value ever passes through a float.
package money

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// What a number read from text may have: more is a mistake or an attack, never an amount.
const (
	MaxIntegerDigits = 24
	MaxDecimals      = 18
)

// Errors of numbers that are exact but do not fit.
var (
	// ErrTooManyDecimals: the number has more decimals than the currency.
	ErrTooManyDecimals = errors.New("too many decimals")
	// ErrOutOfRange: the number is too large to be an amount.
	ErrOutOfRange = errors.New("out of range")
)

// Decimal is an exact decimal number. It is kept as its one canonical text (no exponent, no trailing zeros after the
// point), so == is equality and arithmetic cannot overflow. The zero value is 0. In JSON it is a bare number.
type Decimal struct {
	text string // "" is 0
}

// Parse reads a number as JSON writes it: -12.50, 1e3. It refuses more than MaxIntegerDigits digits before and
// MaxDecimals after the point.
func Parse(text string) (Decimal, error) {
	mantissa, exponent, err := scan(text)
	if err != nil {
		return Decimal{}, fmt.Errorf("%q is not a decimal number: %w", clip(text), err)
	}
	negative := strings.HasPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	scale := len(fraction) - exponent
	for strings.HasSuffix(digits, "0") {
		digits, scale = digits[:len(digits)-1], scale-1
	}
	switch {
	case digits == "":
		return Decimal{}, nil
	case len(digits)-scale > MaxIntegerDigits:
		return Decimal{}, fmt.Errorf("%q is too large: at most %d digits before the point", clip(text), MaxIntegerDigits)
	case scale > MaxDecimals:
		return Decimal{}, fmt.Errorf("%q is too precise: at most %d decimals", clip(text), MaxDecimals)
	}
	return place(negative, digits, scale), nil
}

// MustParse is Parse for literals; it panics when text is not a number.
func MustParse(text string) Decimal {
	d, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return d
}

// FromInt returns n.
func FromInt(n int64) Decimal { return FromMinor(n, 0) }

// FromMinor returns units of a currency's smallest coin: FromMinor(1999, 2) is 19.99.
func FromMinor(units int64, digits int) Decimal { return compose(big.NewInt(units), digits) }

// Minor returns the number in units of a currency's smallest coin: 19.99 with 2 digits is 1999.
// Errors: ErrTooManyDecimals, ErrOutOfRange (of an int64).
func (d Decimal) Minor(digits int) (int64, error) {
	units, scale := d.parts()
	if scale > digits {
		return 0, fmt.Errorf("%w: %s has %d, at most %d are allowed", ErrTooManyDecimals, d, scale, digits)
	}
	if units.Mul(units, power(digits-scale)); !units.IsInt64() {
		return 0, fmt.Errorf("%w: %s is too large", ErrOutOfRange, d)
	}
	return units.Int64(), nil
}

// Add returns d + e.
func (d Decimal) Add(e Decimal) Decimal {
	x, y, scale := align(d, e)
	return compose(x.Add(x, y), scale)
}

// Sub returns d − e.
func (d Decimal) Sub(e Decimal) Decimal { return d.Add(e.Neg()) }

// Mul returns d × e.
func (d Decimal) Mul(e Decimal) Decimal {
	x, i := d.parts()
	y, j := e.parts()
	return compose(x.Mul(x, y), i+j)
}

// Neg returns −d.
func (d Decimal) Neg() Decimal {
	if positive, ok := strings.CutPrefix(d.text, "-"); ok {
		return Decimal{positive}
	}
	if d.text == "" {
		return d
	}
	return Decimal{"-" + d.text}
}

// Cmp returns -1, 0 or 1 as d is less than, equal to or greater than e.
func (d Decimal) Cmp(e Decimal) int {
	x, y, _ := align(d, e)
	return x.Cmp(y)
}

// Equal is ==, for packages that compare values by this method.
func (d Decimal) Equal(e Decimal) bool { return d == e }

// Sign returns -1, 0 or 1.
func (d Decimal) Sign() int {
	switch {
	case d.text == "":
		return 0
	case d.text[0] == '-':
		return -1
	}
	return 1
}

// Scale returns how many decimals d has: 2 for 19.99, 0 for 20.
func (d Decimal) Scale() int {
	_, fraction, _ := strings.Cut(d.text, ".")
	return len(fraction)
}

// RoundHalfEven returns d rounded to a number of decimals; a tie goes to the even neighbour (0.125 → 0.12).
func (d Decimal) RoundHalfEven(digits int) Decimal {
	units, scale := d.parts()
	if scale <= digits {
		return d
	}
	unit := power(scale - digits)
	quotient, rest := new(big.Int).QuoRem(units, unit, new(big.Int))
	twice := rest.Lsh(rest, 1)
	if c := twice.CmpAbs(unit); c > 0 || c == 0 && quotient.Bit(0) == 1 {
		quotient.Add(quotient, big.NewInt(int64(d.Sign())))
	}
	return compose(quotient, digits)
}

// String returns the canonical text, such as 19.99, -0.5 or 0.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// MarshalJSON writes a bare number. Error: an intermediate result that Parse would not read again.
func (d Decimal) MarshalJSON() ([]byte, error) {
	if whole, _, _ := strings.Cut(strings.TrimPrefix(d.text, "-"), "."); len(whole) > MaxIntegerDigits {
		return nil, fmt.Errorf("%w: %s has more than %d digits before the point", ErrOutOfRange, clip(d.text), MaxIntegerDigits)
	}
	if d.Scale() > MaxDecimals {
		return nil, fmt.Errorf("%w: %s has more than %d; round it first", ErrTooManyDecimals, clip(d.text), MaxDecimals)
	}
	return []byte(d.String()), nil
}

// UnmarshalJSON reads a bare number from its text. Strings and null are refused.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	parsed, err := Parse(string(data))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// JSONSchema describes the JSON form.
func (Decimal) JSONSchema() string { return `{"type":"number"}` }

// parts returns d as units × 10^-scale. The caller owns units.
func (d Decimal) parts() (units *big.Int, scale int) {
	whole, fraction, _ := strings.Cut(d.text, ".")
	if len(whole)+len(fraction) <= 18 { // fits an int64: much the most, and far cheaper
		n, _ := strconv.ParseInt(whole+fraction, 10, 64) // "" is 0, all else is canonical
		return big.NewInt(n), len(fraction)
	}
	units, _ = new(big.Int).SetString(whole+fraction, 10)
	return units, len(fraction)
}

// compose makes the Decimal units × 10^-scale.
func compose(units *big.Int, scale int) Decimal {
	digits, negative := strings.CutPrefix(units.String(), "-")
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return Decimal{}
	}
	return place(negative, trimmed, scale-(len(digits)-len(trimmed)))
}

// place sets the point into digits (no zeros around them), scale digits from their end.
func place(negative bool, digits string, scale int) Decimal {
	switch {
	case scale <= 0:
		digits += strings.Repeat("0", -scale)
	case scale >= len(digits):
		digits = "0." + strings.Repeat("0", scale-len(digits)) + digits
	default:
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if negative {
		digits = "-" + digits
	}
	return Decimal{digits}
}

// align returns both numbers in units of the finer of their scales.
func align(d, e Decimal) (x, y *big.Int, scale int) {
	x, i := d.parts()
	y, j := e.parts()
	scale = max(i, j)
	return x.Mul(x, power(scale-i)), y.Mul(y, power(scale-j)), scale
}

func power(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}
