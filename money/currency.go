package money

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnknownCurrency: the code is not one of ISO 4217.
var ErrUnknownCurrency = errors.New("unknown currency")

// Money is an amount of a currency.
type Money struct {
	Amount   Decimal `json:"amount"`
	Currency string  `json:"currency"` // ISO 4217
}

// Minor returns the amount in units of the currency's smallest coin: 19.99 USD is 1999.
// Errors: ErrUnknownCurrency, ErrTooManyDecimals, ErrOutOfRange.
func (m Money) Minor() (int64, error) {
	digits, ok := Digits(m.Currency)
	if !ok {
		return 0, fmt.Errorf("%w %q", ErrUnknownCurrency, clip(m.Currency))
	}
	return m.Amount.Minor(digits)
}

// String returns "19.99 USD", with all of the currency's digits.
func (m Money) String() string {
	amount := m.Amount.String()
	if digits, _ := Digits(m.Currency); m.Amount.Scale() < digits {
		if m.Amount.Scale() == 0 {
			amount += "."
		}
		amount += strings.Repeat("0", digits-m.Amount.Scale())
	}
	return amount + " " + m.Currency
}

// Digits returns how many decimals a currency's amounts have; false: it is not a currency in use.
func Digits(currency string) (int, bool) {
	digits, ok := digitsOf[currency]
	return digits, ok
}

// Active codes of ISO 4217 (list one) by their minor units, without metals, testing codes and units of account that
// have none. https://www.six-group.com/en/products-services/financial-information/data-standards.html
var minorUnits = map[int]string{
	0: `BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF`,
	2: `AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
		CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
		IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN
		MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
		SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG`,
	3: `BHD IQD JOD KWD LYD OMR TND`,
	4: `CLF UYW`,
}

var digitsOf = func() map[string]int {
	m := map[string]int{}
	for digits, codes := range minorUnits {
		for _, code := range strings.Fields(codes) {
			m[code] = digits
		}
	}
	return m
}()
