package money_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/money"
)

func TestParseAndString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "0.00": "0", "0e9": "0", "-0.0e-3": "0",
		"20": "20", "20.00": "20", "19.99": "19.99", "19.990": "19.99", "-19.99": "-19.99", "0.5": "0.5", "-0.05": "-0.05",
		"1e3": "1000", "1E+3": "1000", "1.5e-3": "0.0015", "12.34e1": "123.4", "12.34e2": "1234", "12.34e3": "12340",
		"100e-2": "1", "9223372036854775808": "9223372036854775808",
		"999999999999999999999999.999999999999999999": "999999999999999999999999.999999999999999999",
		"0.0000000000000000010":                       "0.000000000000000001",
	} {
		d, err := money.Parse(text)
		if err != nil || d.String() != want {
			t.Errorf("Parse(%q) = %v, %v, want %s", text, d, err, want)
		}
		if d != money.MustParse(want) {
			t.Errorf("%s and %s are the same number, but not ==", text, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, why := range map[string]string{
		"": "19.99", " 1": "19.99", "1 ": "19.99", "+1": "19.99", "--1": "19.99", "-": "19.99", ".5": "19.99", "1.": "19.99",
		"1.2.3": "19.99", "1,5": "19.99", "0x10": "19.99", "NaN": "19.99", "Infinity": "19.99", `"1"`: "19.99", "null": "19.99",
		"1_000": "19.99", "٣": "19.99", "01": "superfluous", "-00.5": "superfluous",
		"1e": "exponent", "1e+": "exponent", "1e+-3": "exponent", "1e1.5": "exponent", "1e400": "±64", "1e-400": "±64",
		"1e99999999999999999999": "±64", "0e999": "±64",
		"1e24": "too large", "1000000000000000000000000": "too large", "0.0000000000000000001": "too precise", "1e-19": "too precise",
		strings.Repeat("9", 129): "longer than 128",
	} {
		if d, err := money.Parse(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("Parse(%q) = %v, %v, want an error that says %q", text, d, err, why)
		}
	}
}

func TestRoundHalfEven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number string
		digits int
		want   string
	}{
		{"0.125", 2, "0.12"}, {"0.135", 2, "0.14"}, {"0.1250001", 2, "0.13"}, {"-0.125", 2, "-0.12"}, {"-0.135", 2, "-0.14"},
		{"0.5", 0, "0"}, {"1.5", 0, "2"}, {"2.5", 0, "2"}, {"-0.5", 0, "0"}, {"0.999", 2, "1"}, {"19.99", 2, "19.99"}, {"0.004", 2, "0"},
	} {
		if got := money.MustParse(c.number).RoundHalfEven(c.digits); got != money.MustParse(c.want) {
			t.Errorf("%s to %d digits is %s, want %s", c.number, c.digits, got, c.want)
		}
	}
}

func TestMinor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number string
		digits int
		want   int64
		err    error
	}{
		{"19.99", 2, 1999, nil}, {"20", 2, 2000, nil}, {"-0.05", 2, -5, nil}, {"0", 0, 0, nil}, {"500", 0, 500, nil},
		{"19.999", 2, 0, money.ErrTooManyDecimals}, {"0.5", 0, 0, money.ErrTooManyDecimals},
		{"92233720368547758.07", 2, math.MaxInt64, nil}, {"92233720368547758.08", 2, 0, money.ErrOutOfRange},
		{"-92233720368547758.08", 2, math.MinInt64, nil},
	} {
		got, err := money.MustParse(c.number).Minor(c.digits)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s in units of 10^-%d is %d, %v, want %d, %v", c.number, c.digits, got, err, c.want, c.err)
		}
		if err == nil && money.FromMinor(got, c.digits) != money.MustParse(c.number) {
			t.Errorf("FromMinor does not bring %s back", c.number)
		}
	}
}

func TestJSONIsABareNumberThatNeverWasAFloat(t *testing.T) {
	t.Parallel()
	var v struct{ A, B money.Decimal }
	if err := json.Unmarshal([]byte(`{"A":0.1,"B":12345678901234567.89}`), &v); err != nil {
		t.Fatal(err)
	}
	if data, err := json.Marshal(v); err != nil || string(data) != `{"A":0.1,"B":12345678901234567.89}` {
		t.Errorf("got %s, %v", data, err)
	}
	for _, bad := range []string{`{"A":"0.1"}`, `{"A":null}`, `{"A":1e999}`, `{"A":[1]}`} {
		if err := json.Unmarshal([]byte(bad), &v); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestMarshalJSONRefusesWhatCouldNotBeReadAgain(t *testing.T) {
	t.Parallel()
	fine, large := money.MustParse("0.0000000001"), money.MustParse("9999999999999")
	if _, err := json.Marshal(fine.Mul(fine)); !errors.Is(err, money.ErrTooManyDecimals) {
		t.Errorf("20 decimals: got %v", err)
	}
	if _, err := json.Marshal(large.Mul(large).Neg()); !errors.Is(err, money.ErrOutOfRange) {
		t.Errorf("26 digits: got %v", err)
	}
}

func TestCurrencies(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4} {
		if got, ok := money.Digits(code); !ok || got != want {
			t.Errorf("%s has %d digits, %v, want %d", code, got, ok, want)
		}
	}
	for _, code := range []string{"", "usd", "XYZ", "XXX", "XAU", "DEM"} {
		if _, ok := money.Digits(code); ok {
			t.Errorf("%q is taken for a currency in use", code)
		}
	}
	for want, m := range map[string]money.Money{
		"20.00 USD":  {Amount: money.FromInt(20), Currency: "USD"},
		"19.90 EUR":  {Amount: money.MustParse("19.9"), Currency: "EUR"},
		"500 JPY":    {Amount: money.FromInt(500), Currency: "JPY"},
		"-0.500 KWD": {Amount: money.MustParse("-0.5"), Currency: "KWD"},
	} {
		if m.String() != want {
			t.Errorf("got %s, want %s", m, want)
		}
	}
	if _, err := (money.Money{Currency: "ABC"}).Minor(); !errors.Is(err, money.ErrUnknownCurrency) {
		t.Errorf("got %v", err)
	}
}

// The arithmetic is compared with math/big.Rat, which is exact by another way.
func TestArithmeticIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d, e := decimal().Draw(t, "d"), decimal().Draw(t, "e")
		x, y := rat(d), rat(e)
		for _, c := range []struct {
			name string
			got  money.Decimal
			want *big.Rat
		}{
			{"+", d.Add(e), new(big.Rat).Add(x, y)},
			{"-", d.Sub(e), new(big.Rat).Sub(x, y)},
			{"*", d.Mul(e), new(big.Rat).Mul(x, y)},
			{"neg", d.Neg(), new(big.Rat).Neg(x)},
		} {
			if rat(c.got).Cmp(c.want) != 0 {
				t.Fatalf("%s %s %s = %s, want %s", d, c.name, e, c.got, c.want.FloatString(40))
			}
		}
		if d.Cmp(e) != x.Cmp(y) || d.Sign() != x.Sign() || (d == e) != (x.Cmp(y) == 0) || d.Equal(e) != (d == e) {
			t.Fatalf("%s and %s compare wrongly", d, e)
		}
		if back := d.Add(e).Sub(e); back != d {
			t.Fatalf("%s + %s - %s = %s", d, e, e, back)
		}
	})
}

func TestRoundingIsToTheNearestAndTiesToEven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d, digits := decimal().Draw(t, "d"), rapid.IntRange(0, 4).Draw(t, "digits")
		rounded := d.RoundHalfEven(digits)
		if rounded.Scale() > digits {
			t.Fatalf("%s rounded to %d digits is %s", d, digits, rounded)
		}
		half := money.FromMinor(5, digits+1)
		switch off := rounded.Sub(d); {
		case off.Cmp(half) > 0, off.Cmp(half.Neg()) < 0:
			t.Fatalf("%s rounded to %d digits is %s, not the nearest", d, digits, rounded)
		case off == half || off == half.Neg():
			unit := rounded.Mul(money.MustParse(fmt.Sprintf("1e%d", digits))) // a whole number
			if rat(unit).Num().Bit(0) != 0 {
				t.Fatalf("the tie %s went to the odd %s", d, rounded)
			}
		}
	})
}

func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := decimal().Draw(t, "d")
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back money.Decimal
		if err := json.Unmarshal(data, &back); err != nil || back != d {
			t.Fatalf("%s came back as %s, %v", data, back, err)
		}
		if units, err := d.Minor(d.Scale()); err == nil && money.FromMinor(units, d.Scale()) != d {
			t.Fatalf("%s does not survive minor units", d)
		}
	})
}

// FuzzDecimal holds Parse to what it says: what it takes is a JSON number with the same value, in canonical form.
func FuzzDecimal(f *testing.F) {
	for _, seed := range []string{"0", "-0", "19.99", "1e3", "1.5E-3", "00", "1e400", "NaN", "9223372036854775808", "0.0000000000000000010"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := money.Parse(text)
		if err != nil {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON number, but was read as %s", text, d)
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok || rat(d).Cmp(want) != 0 {
			t.Fatalf("%q was read as %s", text, d)
		}
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back money.Decimal
		if err := json.Unmarshal(data, &back); err != nil || back != d {
			t.Fatalf("%q: %s came back as %s, %v", text, data, back, err)
		}
	})
}

// decimal draws numbers of all sizes that Parse takes, and short ones often.
func decimal() *rapid.Generator[money.Decimal] {
	return rapid.Custom(func(t *rapid.T) money.Decimal {
		pattern := rapid.SampledFrom([]string{`-?[0-9]{1,4}(\.[0-9]{1,3}5?)?`, `-?[1-9][0-9]{0,23}(\.[0-9]{1,18})?`}).Draw(t, "pattern")
		text := rapid.StringMatching(pattern).Draw(t, "text")
		sign, digits := "", text
		if strings.HasPrefix(text, "-") {
			sign, digits = "-", text[1:]
		}
		for len(digits) > 1 && digits[0] == '0' && digits[1] != '.' {
			digits = digits[1:]
		}
		return money.MustParse(sign + digits)
	})
}

func rat(d money.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		panic("no number: " + d.String())
	}
	return r
}
