package money

import (
	"errors"
	"strconv"
	"strings"
)

// A number's text is bounded before anything is computed from it.
const (
	maxText     = 128
	maxExponent = 64
)

// scan checks text against JSON's grammar of numbers and splits the exponent off.
func scan(text string) (mantissa string, exponent int, err error) {
	if len(text) > maxText {
		return "", 0, errors.New("it is longer than " + strconv.Itoa(maxText) + " characters")
	}
	mantissa, power, scientific := cutExponent(text)
	whole, fraction, pointed := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	switch {
	case !allDigits(whole), pointed && !allDigits(fraction):
		return "", 0, errors.New("write it like 19.99")
	case len(whole) > 1 && whole[0] == '0':
		return "", 0, errors.New("it begins with a superfluous 0")
	case !scientific:
		return mantissa, 0, nil
	case !allDigits(strings.TrimLeft(power, "+-")) || len(power)-len(strings.TrimLeft(power, "+-")) > 1:
		return "", 0, errors.New("its exponent is not a whole number")
	}
	exponent, err = strconv.Atoi(power)
	if err != nil || exponent < -maxExponent || exponent > maxExponent {
		return "", 0, errors.New("its exponent is beyond ±" + strconv.Itoa(maxExponent))
	}
	return mantissa, exponent, nil
}

func cutExponent(text string) (mantissa, exponent string, found bool) {
	i := strings.IndexAny(text, "eE")
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
