package commands_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/schema"
	"github.com/millstream-es/millstream/events"
)

func registry(t testing.TB) *schema.Registry {
	t.Helper()
	r, err := schema.New(es.Domain{Name: "test", Events: events.All, Aggregates: commands.All})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The examples of help, pasted one after the other, tell the story of an order; the rest is refused for what the
// story made of it, never for its shape.
func TestExamplesCanBePasted(t *testing.T) {
	t.Parallel()
	r := registry(t)
	states := map[string]es.Folded{}
	paste := func(stream, command string) error {
		s, err := es.ParseStream(stream)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Aggregate(s.Category)
		if err != nil {
			t.Fatal(err)
		}
		if states[stream] == nil {
			states[stream] = a.New()
		}
		def, err := r.Command(s.Category, command)
		if err != nil {
			t.Fatal(err)
		}
		c, err := def.Decode(def.Example)
		if err != nil {
			t.Fatalf("%s %s: %v", command, def.Example, err)
		}
		decided, err := states[stream].Decide(c, es.Meta{Stream: s, Time: estest.Noon})
		for _, e := range decided {
			if states[stream], err = states[stream].Evolve(e); err != nil {
				t.Fatal(err)
			}
		}
		return err
	}
	pasted := map[string]bool{}
	for _, line := range []string{
		"customer/c-1 RegisterCustomer", "customer/c-1 RenameCustomer", "customer/c-1 ChangeCustomerTier",
		"stock/p-1 ReceiveStock", "order/o-1 CreateOrder", "stock/p-1 ReserveStock", "payment/o-1-1 RequestPayment",
		"payment/o-1-1 RecordPayment", "order/o-1 MarkOrderPaid", "order/o-1 ShipOrder", "stock/p-1 ShipStock", "order/o-1 DeliverOrder",
		"payment/o-1-1 RequestRefund", "payment/o-1-1 RecordRefund",
		"order/o-2 CreateOrder", "order/o-2 AddOrderItem", "order/o-2 CancelOrder", "stock/p-2 ReleaseStock",
		"payment/o-2-1 RequestPayment", "payment/o-2-1 RecordPaymentFailure",
		"mail/o-1 RequestMail", "mail/o-1 RecordMailSent", "mail/o-2 RequestMail", "mail/o-2 RecordMailFailure",
		"account/a-1 OpenAccount", "account/a-1 DepositMoney", "account/a-1 WithdrawMoney", "account/a-2 OpenAccount",
		"transfer/t-1 RequestTransfer", "account/a-1 SendTransfer", "account/a-2 ReceiveTransfer", "transfer/t-1 CompleteTransfer",
		"account/a-1 ReturnTransfer", "transfer/t-2 RequestTransfer", "transfer/t-2 FailTransfer",
		"account/a-3 OpenAccount", "account/a-3 CloseAccount",
	} {
		stream, command, _ := strings.Cut(line, " ")
		pasted[command] = true
		if err := paste(stream, command); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, a := range commands.All {
		for _, c := range a.Commands() {
			if !pasted[c.Type] {
				t.Errorf("the example of %s is not in the story", c.Type)
			}
		}
	}
}

func TestBadInputIsBlamedOnItsField(t *testing.T) {
	t.Parallel()
	r := registry(t)
	for _, c := range []struct{ category, command, change, pointer string }{
		{"order", "CreateOrder", `{"customerId":"c 1"}`, "/customerId"},
		{"order", "CreateOrder", `{"customerId":""}`, "/customerId"},
		{"order", "CreateOrder", `{"customerId":"` + strings.Repeat("c", 65) + `"}`, "/customerId"},
		{"order", "CreateOrder", `{"customerId":"c-1\n"}`, "/customerId"},
		{"order", "CreateOrder", `{"currency":"usd"}`, "/currency"},
		{"order", "CreateOrder", `{"items":[]}`, "/items"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":0,"price":1}]}`, "/items/0/quantity"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":-1,"price":1}]}`, "/items/0/quantity"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1.5,"price":1}]}`, "/items/0/quantity"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1000001,"price":1}]}`, "/items/0/quantity"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1,"price":-0.01}]}`, "/items/0/price"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1,"price":"1"}]}`, "/items/0/price"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1,"price":null}]}`, "/items/0/price"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1,"price":0.0000000000000000001}]}`, "/items/0/price"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1,"price":1,"taxRate":1.01}]}`, "/items/0/taxRate"},
		{"order", "CreateOrder", `{"items":[{"productId":"p-1","quantity":1,"price":1,"totalPrice":0}]}`, "/items/0/totalPrice"},
		{"order", "CreateOrder", `{"totalAmount":1}`, "/totalAmount"},
		{"order", "CreateOrder", `{"orderDate":"yesterday"}`, "/orderDate"},
		{"order", "CreateOrder", `{"payment":{"method":"cash","token":"t"}}`, "/payment/method"},
		{"order", "CreateOrder", `{"payment":{"method":"paypal","token":" "}}`, "/payment/token"},
		{"order", "CancelOrder", `{"reason":""}`, "/reason"},
		{"stock", "ReceiveStock", `{"quantity":9223372036854775808}`, "/quantity"},
		{"stock", "ReserveStock", `{"orderId":"o.1"}`, "/orderId"},
		{"customer", "RegisterCustomer", `{"email":"nobody"}`, "/email"},
		{"customer", "ChangeCustomerTier", `{"tier":"bronze"}`, "/tier"},
		{"payment", "RequestPayment", `{"amount":-1}`, "/amount"},
		{"mail", "RequestMail", `{"kind":"advert"}`, "/kind"},
		{"mail", "RequestMail", `{"to":"ada@example.com\nBcc: eve@example.com"}`, "/to"},
		{"account", "OpenAccount", `{"owner":" "}`, "/owner"},
		{"account", "DepositMoney", `{"amount":0}`, "/amount"},
		{"account", "DepositMoney", `{"amount":"100"}`, "/amount"},
		{"account", "DepositMoney", `{"transferId":"t-1"}`, "/transferId"},
		{"account", "WithdrawMoney", `{"amount":-0.01}`, "/amount"},
		{"account", "WithdrawMoney", `{"currency":"euro"}`, "/currency"},
		{"account", "SendTransfer", `{"transferId":"t.1"}`, "/transferId"},
		{"transfer", "RequestTransfer", `{"amount":0}`, "/amount"},
		{"transfer", "RequestTransfer", `{"to":"a 2"}`, "/to"},
		{"transfer", "RequestTransfer", `{"reference":"` + strings.Repeat("x", 141) + `"}`, "/reference"},
	} {
		def, err := r.Command(c.category, c.command)
		if err != nil {
			t.Fatal(err)
		}
		var body, change map[string]json.RawMessage
		if err := errors.Join(json.Unmarshal(def.Example, &body), json.Unmarshal([]byte(c.change), &change)); err != nil {
			t.Fatal(err)
		}
		for k, v := range change {
			body[k] = v
		}
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		var invalid *es.InvalidError
		if _, err := def.Decode(data); !errors.As(err, &invalid) || invalid.Pointer != c.pointer {
			t.Errorf("%s with %s: got %v, want the blame on %s", c.command, c.change, err, c.pointer)
		}
	}
}

// Allowed is a promise to the caller: a command that it does not name would not be accepted.
func TestWhatIsAcceptedWasAllowed(t *testing.T) {
	t.Parallel()
	for _, a := range commands.All {
		t.Run(a.Category(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				state := a.New()
				for range rapid.IntRange(1, 25).Draw(t, "commands") {
					c := anyCommand(a.Category()).Draw(t, "command")
					decided, err := state.Decide(c, es.Meta{Stream: es.Stream{Category: a.Category(), ID: "o-1"}, Time: estest.Noon})
					if err != nil && !errors.Is(err, es.ErrRejected) {
						t.Fatalf("%#v: %v", c, err)
					}
					if len(decided) > 0 && !slices.Contains(state.Allowed(), c.CommandType()) {
						t.Fatalf("%#v was accepted, but only %v are allowed in %+v", c, state.Allowed(), state.State())
					}
					for _, e := range decided {
						if state, err = state.Evolve(e); err != nil {
							t.Fatal(err)
						}
					}
					if again, err := state.Decide(c, es.Meta{}); len(decided) > 0 && len(again) > 0 && !repeatable(c) {
						t.Fatalf("%#v took effect twice: %v, %v", c, again, err)
					}
					if back := throughJSON(t, state.State()); !reflect.DeepEqual(back, state.State()) {
						t.Fatalf("state %+v came back from its JSON as %+v", state.State(), back)
					}
				}
			})
		})
	}
}

// repeatable are the commands that mean something new each time.
func repeatable(c es.Command) bool {
	switch c.(type) {
	case commands.ReceiveStock, commands.AddOrderItem, commands.DepositMoney, commands.WithdrawMoney,
		commands.ReserveStock: // refused reservations are decided anew
		return true
	}
	return false
}

func throughJSON(t *rapid.T, state any) any {
	data, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	back := reflect.New(reflect.TypeOf(state))
	if err := json.Unmarshal(data, back.Interface()); err != nil {
		t.Fatal(err)
	}
	return back.Elem().Interface()
}

func anyCommand(category string) *rapid.Generator[es.Command] {
	return rapid.Custom(func(t *rapid.T) es.Command {
		n := rapid.IntRange(1, 2).Draw(t, "n")
		text := fmt.Sprint("text-", n)
		amount := []string{"39.98", "59.97"}[n-1]
		var all []es.Command
		switch category {
		case "order":
			all = []es.Command{
				createOrder(),
				commands.AddOrderItem{ProductID: "p-1", Quantity: 1, Price: dec("19.99")},
				commands.MarkOrderPaid{PaymentID: text, Amount: dec(amount)},
				commands.ShipOrder{TrackingNumber: text}, commands.DeliverOrder{}, commands.CancelOrder{Reason: text},
			}
		case "stock":
			return stockCommand().Draw(t, "stock")
		case "payment":
			all = []es.Command{
				commands.RequestPayment{OrderID: "o-1", CustomerID: "c-1", Amount: dec(amount), Currency: "USD", Method: "paypal", Token: text},
				commands.RecordPayment{TransactionID: text}, commands.RecordPaymentFailure{Reason: text},
				commands.RequestRefund{Reason: text}, commands.RecordRefund{RefundID: text},
			}
		case "customer":
			all = []es.Command{
				commands.RegisterCustomer{Name: text}, commands.RenameCustomer{Name: text},
				commands.ChangeCustomerTier{Tier: []string{"standard", "gold"}[n-1]},
			}
		case "mail":
			kind := []string{commands.MailConfirmation, commands.MailShipped}[n-1]
			all = []es.Command{
				commands.RequestMail{Kind: kind, To: rapid.SampledFrom([]string{"a@x", "b@x"}).Draw(t, "to"), CustomerID: "c-1", OrderNumber: "o-1"},
				commands.RecordMailSent{Kind: kind, MessageID: text}, commands.RecordMailFailure{Kind: kind, Reason: text},
			}
		case "account":
			all = []es.Command{
				commands.OpenAccount{Owner: "Ada", Currency: "USD"}, commands.CloseAccount{Reason: text},
				commands.DepositMoney{Amount: dec(amount), Currency: "USD"}, commands.WithdrawMoney{Amount: dec(amount), Currency: "USD"},
				commands.SendTransfer{TransferID: text, To: "a-2", Amount: dec(amount), Currency: "USD"},
				commands.ReceiveTransfer{TransferID: text, From: "a-2", Amount: dec(amount), Currency: "USD"},
				commands.ReturnTransfer{TransferID: text, Reason: text},
			}
		case "transfer":
			all = []es.Command{
				commands.RequestTransfer{From: "a-1", To: "a-2", Amount: dec(amount), Currency: "USD"},
				commands.CompleteTransfer{}, commands.FailTransfer{Reason: text},
			}
		}
		return rapid.SampledFrom(all).Draw(t, category)
	})
}
