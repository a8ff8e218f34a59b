package gateways

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// text is a mail's subject and body: the same for the same event, at every attempt.
func text(e events.MailRequested) (subject, body string) {
	number := oneLine(e.OrderNumber)
	var lines []string
	switch e.Kind {
	case commands.MailConfirmation:
		subject = fmt.Sprintf("Your order %s is confirmed", number)
		lines = append(lines, fmt.Sprintf("thank you for your order %s. It is paid and all of it is set aside for you.", number))
		if e.Currency != "" {
			lines = append(lines, fmt.Sprintf("Amount: %s %s", priced(e.Amount, e.Currency), oneLine(e.Currency)))
		}
		lines = append(lines, "We will write again when it is on its way.")
	case commands.MailShipped:
		subject = fmt.Sprintf("Your order %s is on its way", number)
		lines = append(lines, fmt.Sprintf("your order %s has left our house.", number))
		if e.TrackingNumber != "" {
			lines = append(lines, "Tracking number: "+oneLine(e.TrackingNumber))
		}
	default:
		subject = fmt.Sprintf("Your order %s is cancelled", number)
		lines = append(lines, fmt.Sprintf("your order %s is cancelled.", number))
		if e.Reason != "" {
			lines = append(lines, "Reason: "+oneLine(e.Reason))
		}
		lines = append(lines, "Whatever was paid for it goes back to you.")
	}
	greeting := "Hello,"
	if name := oneLine(e.Name); name != "" {
		greeting = "Dear " + name + ","
	}
	return subject, greeting + "\r\n\r\n" + strings.Join(lines, "\r\n\r\n") + "\r\n"
}

// priced writes an amount with all decimals of its currency: 40.00, not 40.
func priced(amount money.Decimal, currency string) string {
	written := amount.String()
	digits, _ := money.Digits(currency)
	if missing := digits - amount.Scale(); missing > 0 {
		if amount.Scale() == 0 {
			written += "."
		}
		written += strings.Repeat("0", missing)
	}
	return written
}

// oneLine keeps text that somebody typed from adding lines, to headers above all.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }), " ")
}
