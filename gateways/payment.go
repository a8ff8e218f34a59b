package gateways

import (
	"context"
	"fmt"
	"time"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// paymentName names the gateway's consumer. It is durable: under another name it would begin the log anew.
const paymentName = "payment"

// PaymentSettings say which payment provider is asked.
type PaymentSettings struct {
	URL     string        `name:"payment-url" placeholder:"URL" help:"Payment provider to ask: POST URL/payments and URL/refunds. Without it a built-in sandbox answers (tokens tok_ok, tok_declined, tok_timeout, tok_flaky)."`
	Timeout time.Duration `name:"payment-timeout" default:"10s" help:"How long one attempt to reach the payment provider may take."`
	Bearer  string        `name:"payment-bearer" env:"MILLSTREAM_PAYMENT_BEARER" placeholder:"TOKEN" help:"Bearer token for the payment provider; set it in the environment, where other users do not see it."`
}

// Payments asks the payment provider for what PaymentRequested and RefundRequested want, and records its answer on
// the payment. A payment that is declined is an answer; a refund that is refused is a permanent error, for people.
func Payments() es.Gateway {
	settings := &PaymentSettings{Timeout: 10 * time.Second}
	sandbox := newSandbox()
	return es.Gateway{
		Name:     paymentName,
		Settings: settings,
		Interest: es.Interest{
			Handles: []es.Event{events.PaymentRequested{}, events.RefundRequested{}},
			Ignores: []es.Event{
				events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
				events.OrderDelivered{}, events.OrderCancelled{},
				events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{},
				events.StockReleased{}, events.StockShipped{},
				events.PaymentProcessed{}, events.PaymentFailed{}, events.PaymentRefunded{},
				events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
				events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
				events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
				events.MailRequested{}, events.MailSent{}, events.MailFailed{},
			},
		},
		Deliver: func(ctx context.Context, r es.Recorded, key string) ([]es.Effect, error) {
			ctx, cancel := context.WithTimeout(ctx, settings.Timeout)
			defer cancel()
			var provider provider = sandbox
			if settings.URL != "" {
				provider = httpProvider{url: settings.URL, bearer: settings.Bearer}
			}
			return deliver(ctx, provider, r, key)
		},
	}
}

// provider takes and gives back money. The same key is the same wish, however often it is asked.
// Errors are transient or permanent, and never show a token.
type provider interface {
	charge(ctx context.Context, key string, c charge) (receipt, error)
	refund(ctx context.Context, key string, r refund) (receipt, error)
}

// charge is the body of POST /payments.
type charge struct {
	PaymentID  string        `json:"paymentId"`
	OrderID    string        `json:"orderId"`
	CustomerID string        `json:"customerId"`
	Amount     money.Decimal `json:"amount"`
	Currency   string        `json:"currency"`
	Method     string        `json:"method"`
	Token      string        `json:"token"`
}

// refund is the body of POST /refunds.
type refund struct {
	PaymentID string        `json:"paymentId"`
	OrderID   string        `json:"orderId"`
	Amount    money.Decimal `json:"amount"`
	Currency  string        `json:"currency"`
	Reason    string        `json:"reason"`
}

// receipt is the provider's answer: an id of what was done, or why it was declined.
type receipt struct {
	id       string
	declined string
}

func deliver(ctx context.Context, to provider, r es.Recorded, key string) ([]es.Effect, error) {
	id := r.Stream.ID
	switch e := r.Event.(type) {
	case events.PaymentRequested:
		got, err := to.charge(ctx, key, charge{
			PaymentID: id, OrderID: e.OrderID, CustomerID: e.CustomerID,
			Amount: e.Amount, Currency: e.Currency, Method: e.Method, Token: e.Token,
		})
		if err != nil {
			return nil, fmt.Errorf("payment %s: %w", id, err)
		}
		if got.declined != "" {
			return []es.Effect{commands.Payments.To(id, commands.RecordPaymentFailure{Reason: got.declined})}, nil
		}
		return []es.Effect{commands.Payments.To(id, commands.RecordPayment{TransactionID: got.id})}, nil
	case events.RefundRequested:
		got, err := to.refund(ctx, key, refund{
			PaymentID: id, OrderID: e.OrderID, Amount: e.Amount, Currency: e.Currency, Reason: e.Reason,
		})
		if err != nil {
			return nil, fmt.Errorf("refund of payment %s: %w", id, err)
		}
		if got.declined != "" {
			return nil, es.Permanent(fmt.Errorf("refund of payment %s was declined by the provider (%s): settle it with them, then send RecordRefund", id, got.declined))
		}
		return []es.Effect{commands.Payments.To(id, commands.RecordRefund{RefundID: got.id})}, nil
	}
	return nil, es.Permanent(fmt.Errorf("the payment gateway was handed %s, which it does not handle", r.EventType()))
}
