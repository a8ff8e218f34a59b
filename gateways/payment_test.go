package gateways_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/gateways"
	"github.com/millstream-es/millstream/money"
)

const (
	secretToken  = "tok_secret_4711"
	secretBearer = "bearer_secret_0815"
)

func requested(token string) es.Recorded {
	return es.Recorded{Meta: es.Meta{Stream: commands.Payments.Stream("o-1-1")}, Event: events.PaymentRequested{
		OrderID: "o-1", CustomerID: "c-1", Amount: money.MustParse("39.98"), Currency: "USD", Method: "credit_card", Token: token,
	}}
}

func refundRequested() es.Recorded {
	return es.Recorded{Meta: es.Meta{Stream: commands.Payments.Stream("o-1-1")}, Event: events.RefundRequested{
		PaymentID: "o-1-1", OrderID: "o-1", Reason: "changed my mind", Amount: money.MustParse("39.98"), Currency: "USD",
	}}
}

func recorded(id string) []es.Effect {
	return []es.Effect{commands.Payments.To("o-1-1", commands.RecordPayment{TransactionID: id})}
}

func declined(reason string) []es.Effect {
	return []es.Effect{commands.Payments.To("o-1-1", commands.RecordPaymentFailure{Reason: reason})}
}

// asking returns a gateway that asks a server answering each request with the next of the given answers.
func asking(t *testing.T, answers ...http.HandlerFunc) (es.Gateway, *asked) {
	t.Helper()
	a := &asked{answers: answers}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	g := gateways.Payments()
	*g.Settings.(*gateways.PaymentSettings) = gateways.PaymentSettings{URL: server.URL + "/v1", Timeout: time.Minute, Bearer: secretBearer}
	return g, a
}

type asked struct {
	mu      sync.Mutex
	answers []http.HandlerFunc
	paths   []string
	keys    []string
	bearers []string
	bodies  []map[string]any
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	text, err := io.ReadAll(r.Body)
	var body map[string]any
	if err = errors.Join(err, json.Unmarshal(text, &body)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	a.paths, a.keys = append(a.paths, r.Method+" "+r.URL.Path), append(a.keys, r.Header.Get("Idempotency-Key"))
	a.bearers, a.bodies = append(a.bearers, r.Header.Get("Authorization")), append(a.bodies, body)
	next := a.answers[0]
	a.answers = a.answers[1:]
	a.mu.Unlock()
	next(w, r)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestProviderIsAsked(t *testing.T) {
	t.Parallel()
	g, a := asking(t, says(201, `{"transactionId":"t-9"}`), says(200, `{"refundId":"r-9"}`))
	got, err := g.Deliver(t.Context(), requested(secretToken), "key-1")
	check(t, got, err, recorded("t-9"), nil)
	got, err = g.Deliver(t.Context(), refundRequested(), "key-2")
	check(t, got, err, []es.Effect{commands.Payments.To("o-1-1", commands.RecordRefund{RefundID: "r-9"})}, nil)

	differ(t, "paths", []string{"POST /v1/payments", "POST /v1/refunds"}, a.paths)
	differ(t, "keys", []string{"key-1", "key-2"}, a.keys)
	differ(t, "bearer", []string{"Bearer " + secretBearer, "Bearer " + secretBearer}, a.bearers)
	differ(t, "bodies", []map[string]any{
		{"paymentId": "o-1-1", "orderId": "o-1", "customerId": "c-1", "amount": 39.98, "currency": "USD", "method": "credit_card", "token": secretToken},
		{"paymentId": "o-1-1", "orderId": "o-1", "amount": 39.98, "currency": "USD", "reason": "changed my mind"},
	}, a.bodies)
}

func TestProviderAnswers(t *testing.T) {
	t.Parallel()
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}
	hangUp := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   []es.Effect
		err    error
	}{
		{"402 is declined", says(402, `{"reason":"insufficient funds"}`), declined("insufficient funds"), nil},
		{"402 without a reason too", says(402, `no`), declined("declined"), nil},
		{"so is a status in the body", says(200, `{"status":"declined","reason":"stolen"}`), declined("stolen"), nil},
		{"a reason does not show the token", says(402, `{"reason":"bad `+secretToken+`"}`), declined("bad ***"), nil},
		{"a long reason is clipped", says(402, `{"reason":"`+strings.Repeat("x", 999)+`"}`), declined(strings.Repeat("x", 200) + "…"), nil},
		{"408", says(408, ""), nil, es.ErrTransient},
		{"425", says(425, ""), nil, es.ErrTransient},
		{"429", says(429, ""), nil, es.ErrTransient},
		{"500", says(500, "token "+secretToken+" and "+secretBearer), nil, es.ErrTransient},
		{"503 that says declined is still an outage", says(503, `{"status":"declined"}`), nil, es.ErrTransient},
		{"hung up", hangUp, nil, es.ErrTransient},
		{"400", says(400, "token "+secretToken+" and "+secretBearer), nil, es.ErrPermanent},
		{"401", says(401, ""), nil, es.ErrPermanent},
		{"a redirect is not followed", redirect, nil, es.ErrPermanent},
		{"not JSON", says(200, "<html>"+secretToken), nil, es.ErrPermanent},
		{"no transaction id", says(200, `{}`), nil, es.ErrPermanent},
		{"an absurd transaction id", says(200, `{"transactionId":"`+strings.Repeat("x", 999)+`"}`), nil, es.ErrPermanent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g, _ := asking(t, tt.answer)
			got, err := g.Deliver(t.Context(), requested(secretToken), "key-1")
			check(t, got, err, tt.want, tt.err)
		})
	}
}

func TestRefusedRefundIsForPeople(t *testing.T) {
	t.Parallel()
	g, _ := asking(t, says(402, `{"reason":"too old"}`))
	got, err := g.Deliver(t.Context(), refundRequested(), "key-1")
	check(t, got, err, nil, es.ErrPermanent)
}

func TestEachAttemptHasTheSameKey(t *testing.T) {
	t.Parallel()
	g, a := asking(t, says(500, "down"), says(200, `{"transactionId":"t-9"}`))
	got, err := g.Deliver(t.Context(), requested(secretToken), "key-1")
	check(t, got, err, nil, es.ErrTransient)
	got, err = g.Deliver(t.Context(), requested(secretToken), "key-1")
	check(t, got, err, recorded("t-9"), nil)
	differ(t, "keys", []string{"key-1", "key-1"}, a.keys)
}

func TestSilentProviderTimesOut(t *testing.T) {
	t.Parallel()
	g, _ := asking(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	g.Settings.(*gateways.PaymentSettings).Timeout = 10 * time.Millisecond
	got, err := g.Deliver(t.Context(), requested(secretToken), "key-1")
	check(t, got, err, nil, es.ErrTransient)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %q does not say that time ran out", err)
	}
}

func TestURLThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"provider", "ftp://provider", "http://", "http://\x00"} {
		g := gateways.Payments()
		g.Settings.(*gateways.PaymentSettings).URL = url
		got, err := g.Deliver(t.Context(), requested(secretToken), "key-1")
		check(t, got, err, nil, es.ErrPermanent)
	}
}

func TestSandbox(t *testing.T) {
	t.Parallel()
	g := gateways.Payments()
	ok, err := g.Deliver(t.Context(), requested("tok_ok"), "key-1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := g.Deliver(t.Context(), requested("tok_ok"), "key-1")
	check(t, again, err, ok, nil)
	if id := ok[0].(es.Send).Command.(commands.RecordPayment).TransactionID; !strings.HasPrefix(id, "txn_") {
		t.Errorf("transaction id %q does not begin with txn_", id)
	}

	got, err := g.Deliver(t.Context(), requested("tok_declined"), "key-1")
	check(t, got, err, declined("card declined"), nil)
	got, err = g.Deliver(t.Context(), requested("4711"), "key-1")
	check(t, got, err, declined("unknown token"), nil)

	for range 2 {
		got, err = g.Deliver(t.Context(), requested("tok_flaky"), "key-2")
		check(t, got, err, nil, es.ErrTransient)
	}
	got, err = g.Deliver(t.Context(), requested("tok_flaky"), "key-2")
	if err != nil || len(got) != 1 {
		t.Errorf("the third attempt with tok_flaky: %v, %v; expected a payment", got, err)
	}
	got, err = g.Deliver(t.Context(), requested("tok_flaky"), "key-3")
	check(t, got, err, nil, es.ErrTransient)

	got, err = g.Deliver(t.Context(), refundRequested(), "key-4")
	if err != nil || len(got) != 1 {
		t.Errorf("a refund: %v, %v; expected one command", got, err)
	}

	g.Settings.(*gateways.PaymentSettings).Timeout = 10 * time.Millisecond
	got, err = g.Deliver(t.Context(), requested("tok_timeout"), "key-5")
	check(t, got, err, nil, es.ErrTransient)
}

func TestUnknownEventIsPermanent(t *testing.T) {
	t.Parallel()
	got, err := gateways.Payments().Deliver(t.Context(), es.Recorded{Event: events.OrderPaid{}}, "key-1")
	check(t, got, err, nil, es.ErrPermanent)
}

func TestDomainListsEveryEvent(t *testing.T) {
	t.Parallel()
	d := es.Domain{Name: "test", Events: events.All, Aggregates: commands.All, Gateways: gateways.All}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}

func check(t *testing.T, got []es.Effect, err error, want []es.Effect, kind error) {
	t.Helper()
	differ(t, "effects", want, got)
	if (kind == nil) != (err == nil) || !errors.Is(err, kind) {
		t.Errorf("error %v, expected %v", err, kind)
	}
	if err != nil && (strings.Contains(err.Error(), secretToken) || strings.Contains(err.Error(), secretBearer)) {
		t.Errorf("the error shows a secret: %v", err)
	}
}

func differ(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differ (-want +got):\n%s", what, diff)
	}
}
