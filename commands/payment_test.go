package commands_test

import (
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
)

func TestPayment(t *testing.T) {
	t.Parallel()
	request := commands.RequestPayment{OrderID: "o-1", CustomerID: "c-1", Amount: dec("39.98"), Currency: "USD", Method: "paypal", Token: "tok_ok"}
	with := func(change func(*commands.RequestPayment)) commands.RequestPayment {
		c := request
		change(&c)
		return c
	}
	record, otherRecord := commands.RecordPayment{TransactionID: "tx-1"}, commands.RecordPayment{TransactionID: "tx-2"}
	fail, otherFail := commands.RecordPaymentFailure{Reason: "card declined"}, commands.RecordPaymentFailure{Reason: "timeout"}
	refund := commands.RequestRefund{Reason: "order cancelled"}
	refunded, otherRefunded := commands.RecordRefund{RefundID: "re-1"}, commands.RecordRefund{RefundID: "re-2"}

	isRequested := events.PaymentRequested(request)
	isProcessed := events.PaymentProcessed{PaymentID: "o-1-1", TransactionID: "tx-1", OrderID: "o-1", CustomerID: "c-1", Amount: dec("39.98"), Currency: "USD"}
	isFailed := events.PaymentFailed{PaymentID: "o-1-1", OrderID: "o-1", Reason: "card declined"}
	isRefundRequested := events.RefundRequested{PaymentID: "o-1-1", OrderID: "o-1", Reason: "order cancelled", Amount: dec("39.98"), Currency: "USD"}
	isRefunded := events.PaymentRefunded{PaymentID: "o-1-1", OrderID: "o-1", CustomerID: "c-1", Amount: dec("39.98"), Currency: "USD", RefundID: "re-1"}

	none := []events.Payment{}
	requested := []events.Payment{isRequested}
	processed := []events.Payment{isRequested, isProcessed}
	failed := []events.Payment{isRequested, isFailed}
	asked := []events.Payment{isRequested, isProcessed, isRefundRequested}
	returned := []events.Payment{isRequested, isProcessed, isRefundRequested, isRefunded}

	for _, c := range []struct {
		name    string
		given   []events.Payment
		when    commands.PaymentCommand
		then    events.Payment // nil: unchanged, unless rejected
		refused error
	}{
		{"requesting", none, request, isRequested, nil},
		{"requesting the same again", requested, request, nil, nil},
		{"requesting the same after it was refunded", returned, request, nil, nil},
		{"requesting another amount", requested, with(func(c *commands.RequestPayment) { c.Amount = dec("1") }), nil, commands.ErrPaymentExists},
		{"requesting with another token", requested, with(func(c *commands.RequestPayment) { c.Token = "tok_declined" }), nil, commands.ErrPaymentExists},
		{"requesting for another order", requested, with(func(c *commands.RequestPayment) { c.OrderID = "o-2" }), nil, commands.ErrPaymentExists},
		{"requesting in no currency", none, with(func(c *commands.RequestPayment) { c.Currency = "ABC" }), nil, commands.ErrUnknownCurrency.At("/currency")},
		{"requesting half a cent", none, with(func(c *commands.RequestPayment) { c.Amount = dec("0.005") }), nil, commands.ErrTooManyDecimals.At("/amount")},
		{"requesting more than there is", none, with(func(c *commands.RequestPayment) { c.Amount = dec("1e20") }), nil, commands.ErrAmountOutOfRange.At("/amount")},

		{"recording", requested, record, isProcessed, nil},
		{"recording again", processed, record, nil, nil},
		{"recording again after the refund", returned, record, nil, nil},
		{"recording by another transaction", processed, otherRecord, nil, commands.ErrPaymentProcessed},
		{"recording a payment that failed", failed, record, nil, commands.ErrPaymentFailed},
		{"recording an unknown payment", none, record, nil, commands.ErrPaymentNotFound},

		{"failing", requested, fail, isFailed, nil},
		{"failing again", failed, fail, nil, nil},
		{"failing again for another reason", failed, otherFail, nil, commands.ErrPaymentFailed},
		{"failing after success", processed, fail, nil, commands.ErrPaymentProcessed},
		{"failing after the refund", returned, fail, nil, commands.ErrPaymentProcessed},
		{"failing an unknown payment", none, fail, nil, commands.ErrPaymentNotFound},

		{"asking for a refund", processed, refund, isRefundRequested, nil},
		{"asking for a refund again", asked, refund, nil, nil},
		{"asking for a refund of what is refunded", returned, refund, nil, nil},
		{"asking for a refund too early", requested, refund, nil, commands.ErrPaymentNotProcessed},
		{"asking for a refund of what failed", failed, refund, nil, commands.ErrPaymentFailed},
		{"asking for a refund of an unknown payment", none, refund, nil, commands.ErrPaymentNotFound},

		{"refunding", asked, refunded, isRefunded, nil},
		{"refunding again", returned, refunded, nil, nil},
		{"refunding twice", returned, otherRefunded, nil, commands.ErrRefundRecorded},
		{"refunding unasked", processed, refunded, nil, commands.ErrRefundNotRequested},
		{"refunding what is not processed", requested, refunded, nil, commands.ErrPaymentNotProcessed},
		{"refunding what failed", failed, refunded, nil, commands.ErrPaymentFailed},
		{"refunding an unknown payment", none, refunded, nil, commands.ErrPaymentNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			decision := estest.For(t, commands.Payments).ID("o-1-1").Given(c.given...).When(c.when)
			switch {
			case c.refused != nil:
				decision.ThenRejected(c.refused)
			case c.then == nil:
				decision.ThenUnchanged()
			default:
				decision.Then(c.then)
			}
		})
	}
}
