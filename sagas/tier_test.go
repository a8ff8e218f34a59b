package sagas_test

import (
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/sagas"
)

func TestTier(t *testing.T) {
	t.Parallel()
	pays := func(sum, currency string) es.Recorded {
		return estest.On(commands.Payments.Stream("o-1-1"), events.PaymentProcessed{
			PaymentID: "o-1-1", OrderID: "o-1", CustomerID: "c-1", Amount: amount(sum), Currency: currency,
		})
	}
	back := func(sum, currency string) es.Recorded {
		return estest.On(commands.Payments.Stream("o-1-1"), events.PaymentRefunded{
			PaymentID: "o-1-1", OrderID: "o-1", CustomerID: "c-1", Amount: amount(sum), Currency: currency,
		})
	}
	to := func(tier string) es.Effect {
		return commands.Customers.To("c-1", commands.ChangeCustomerTier{Tier: tier})
	}
	registered := estest.On(commands.Customers.Stream("c-1"), events.CustomerRegistered{Name: "Ada"})
	in := func(inputs ...es.Recorded) []es.Recorded { return inputs }
	tests := []struct {
		name  string
		given []es.Recorded
		when  es.Recorded
		then  es.Effect
	}{
		{"a new customer is standard already", nil, registered, done},
		{"999.99 is still standard", in(registered), pays("999.99", "USD"), done},
		{"1,000 is silver", in(registered, pays("999.99", "USD")), pays("0.01", "USD"), to("silver")},
		{"5,000 is gold", in(registered), pays("5000", "USD"), to("gold")},
		{"20,000 is platinum", in(registered), pays("20000", "USD"), to("platinum")},
		{"it is told once", in(registered, pays("1000", "USD"), ok(to("silver"))), pays("1", "USD"), done},
		{"accepted is done", in(registered, pays("1000", "USD")), ok(to("silver")), done},
		{"so is what was already so", in(registered, pays("1000", "USD")), unchanged(to("silver")), done},
		{"a refund moves down", in(registered, pays("5000", "USD"), ok(to("gold"))), back("1", "USD"), to("silver")},
		{"down to standard", in(registered, pays("5000", "USD"), ok(to("gold"))), back("5000", "USD"), to("standard")},
		{"amounts of two currencies are not added up", in(registered, pays("999", "USD")), pays("999", "EUR"), done},
		{"the better of two currencies counts", in(registered, pays("1000", "USD"), ok(to("silver"))), pays("5000", "EUR"), to("gold")},
		{"a customer who is not registered is not waited for", in(pays("1000", "USD")), no(to("silver"), commands.ErrCustomerNotFound), done},
		{"and is told on registration", in(pays("1000", "USD"), no(to("silver"), commands.ErrCustomerNotFound)), registered, to("silver")},
		{"what was lost is tried again", in(registered, pays("1000", "USD")), lost(to("silver")), tryAgain},
		{"after a while", in(registered, pays("1000", "USD"), lost(to("silver"))), retryNow, to("silver")},
		{"or with the next event, since it may have been done", in(registered, pays("1000", "USD"), lost(to("silver"))), back("1", "USD"), to("standard")},
		{"but not twice", in(registered, pays("1000", "USD"), lost(to("silver")), back("1", "USD"), unchanged(to("standard"))), retryNow, done},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			estest.ForSaga(t, sagas.Tiers).Given(tt.given...).When(tt.when).Then(tt.then)
		})
	}
}
