package graphql

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/99designs/gqlgen/graphql"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

type mutation struct{ *Door }

// send has a command executed. The reply is the answer, also one that says no; the error is a refusal, when the caller
// may not or the machinery failed.
func (m mutation) send(ctx context.Context, s es.Stream, c es.Command, key *string, expected *int64) (es.Reply, error) {
	if err := access.Check(ctx, access.CommandSend, s.Category); err != nil {
		return es.Reply{}, m.refuse(ctx, err)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return es.Reply{}, m.refuse(ctx, es.Permanent(err))
	}
	caller, _ := access.From(ctx)
	headers := graphql.GetOperationContext(ctx).Headers
	_, parent := rest.Trace(ctx)
	request := es.Request{Type: c.CommandType(), Data: data, Meta: es.Meta{
		Stream: s, CommandID: value(key), User: caller.Name, Traceparent: parent,
		Correlation: headers.Get(runtime.HeaderCorrelation), Causation: headers.Get(runtime.HeaderCausation),
	}}
	if err := checkArguments(key, expected); err != nil {
		return runtime.Refusal(request, err), nil
	}
	if expected != nil {
		version := uint64(*expected)
		request.Expected = &version
	}
	reply := m.engine.Execute(ctx, request)
	if reply.Outcome == es.UnknownOutcome || reply.Outcome == es.Failed {
		return reply, &refusal{problem: reply.Error, reply: &reply}
	}
	return reply, nil
}

// checkArguments refuses what the engine would take for an argument that was not given.
func checkArguments(key *string, expected *int64) error {
	switch {
	case key != nil && !es.ValidID(*key):
		return &es.InvalidError{Code: "bad_id", Message: "idempotencyKey must match [A-Za-z0-9_-]{1,64}"}
	case key != nil && strings.HasPrefix(*key, es.EnginePrefix):
		return &es.InvalidError{Code: "bad_id", Message: fmt.Sprintf("idempotencyKey begins with %s, which is the engine's: choose another", es.EnginePrefix)}
	case expected != nil && *expected < 0:
		return &es.InvalidError{Code: "schema", Message: "expectedVersion must be 0 or more"}
	}
	return nil
}

func (m mutation) CreateOrder(ctx context.Context, orderID string, input commands.CreateOrder, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Orders.Stream(orderID), input, key, expected)
}

func (m mutation) AddOrderItem(ctx context.Context, orderID string, input commands.Item, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Orders.Stream(orderID), commands.AddOrderItem(input), key, expected)
}

func (m mutation) ShipOrder(ctx context.Context, orderID string, input commands.ShipOrder, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Orders.Stream(orderID), input, key, expected)
}

func (m mutation) DeliverOrder(ctx context.Context, orderID string, input commands.DeliverOrder, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Orders.Stream(orderID), input, key, expected)
}

func (m mutation) CancelOrder(ctx context.Context, orderID string, input commands.CancelOrder, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Orders.Stream(orderID), input, key, expected)
}

func (m mutation) ReceiveStock(ctx context.Context, productID string, input commands.ReceiveStock, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Stocks.Stream(productID), input, key, expected)
}

func (m mutation) ReserveStock(ctx context.Context, productID string, input commands.ReserveStock, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Stocks.Stream(productID), input, key, expected)
}

func (m mutation) ReleaseStock(ctx context.Context, productID string, input commands.ReleaseStock, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Stocks.Stream(productID), input, key, expected)
}

func (m mutation) ShipStock(ctx context.Context, productID string, input commands.ShipStock, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Stocks.Stream(productID), input, key, expected)
}

func (m mutation) RequestPayment(ctx context.Context, paymentID string, input commands.RequestPayment, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Payments.Stream(paymentID), input, key, expected)
}

func (m mutation) RequestRefund(ctx context.Context, paymentID string, input commands.RequestRefund, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Payments.Stream(paymentID), input, key, expected)
}

func (m mutation) RegisterCustomer(ctx context.Context, customerID string, input commands.RegisterCustomer, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Customers.Stream(customerID), input, key, expected)
}

func (m mutation) RenameCustomer(ctx context.Context, customerID string, input commands.RenameCustomer, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Customers.Stream(customerID), input, key, expected)
}

func (m mutation) ChangeCustomerTier(ctx context.Context, customerID string, input commands.ChangeCustomerTier, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Customers.Stream(customerID), input, key, expected)
}

func (m mutation) RequestMail(ctx context.Context, orderID string, input commands.RequestMail, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Mails.Stream(orderID), input, key, expected)
}

func (m mutation) OpenAccount(ctx context.Context, accountID string, input commands.OpenAccount, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Accounts.Stream(accountID), input, key, expected)
}

func (m mutation) DepositMoney(ctx context.Context, accountID string, input commands.DepositMoney, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Accounts.Stream(accountID), input, key, expected)
}

func (m mutation) WithdrawMoney(ctx context.Context, accountID string, input commands.WithdrawMoney, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Accounts.Stream(accountID), input, key, expected)
}

func (m mutation) CloseAccount(ctx context.Context, accountID string, input commands.CloseAccount, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Accounts.Stream(accountID), input, key, expected)
}

func (m mutation) RequestTransfer(ctx context.Context, transferID string, input commands.RequestTransfer, key *string, expected *int64) (es.Reply, error) {
	return m.send(ctx, commands.Transfers.Stream(transferID), input, key, expected)
}
