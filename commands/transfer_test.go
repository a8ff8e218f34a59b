package commands_test

import (
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
)

func TestTransfer(t *testing.T) {
	t.Parallel()
	request := commands.RequestTransfer{From: "a-1", To: "a-2", Amount: dec("12.34"), Currency: "EUR", Reference: "rent"}
	with := func(change func(*commands.RequestTransfer)) commands.RequestTransfer {
		c := request
		change(&c)
		return c
	}
	complete, fail := commands.CompleteTransfer{}, commands.FailTransfer{Reason: "account a-2 is closed"}
	isRequested, isCompleted, isFailed := events.TransferRequested(request), events.TransferCompleted{}, events.TransferFailed(fail)

	requested := []events.Transfer{isRequested}
	completed := []events.Transfer{isRequested, isCompleted}
	failed := []events.Transfer{isRequested, isFailed}
	for _, c := range []struct {
		name    string
		given   []events.Transfer
		when    commands.TransferCommand
		then    events.Transfer // nil: unchanged, unless rejected
		refused error
	}{
		{"requesting", nil, request, isRequested, nil},
		{"requesting the same again", requested, request, nil, nil},
		{"requesting the same after it failed", failed, request, nil, nil},
		{"requesting another amount", requested, with(func(c *commands.RequestTransfer) { c.Amount = dec("1") }), nil, commands.ErrTransferExists},
		{"requesting with another reference", requested, with(func(c *commands.RequestTransfer) { c.Reference = "" }), nil, commands.ErrTransferExists},
		{"requesting to the same account", nil, with(func(c *commands.RequestTransfer) { c.To = "a-1" }), nil, commands.ErrSameAccount.At("/to")},
		{"requesting in no currency", nil, with(func(c *commands.RequestTransfer) { c.Currency = "ABC" }), nil, commands.ErrUnknownCurrency.At("/currency")},
		{"requesting half a cent", nil, with(func(c *commands.RequestTransfer) { c.Amount = dec("0.005") }), nil, commands.ErrTooManyDecimals.At("/amount")},
		{"requesting more than there is", nil, with(func(c *commands.RequestTransfer) { c.Amount = dec("1e20") }), nil, commands.ErrAmountOutOfRange.At("/amount")},

		{"completing", requested, complete, isCompleted, nil},
		{"completing again", completed, complete, nil, nil},
		{"completing what failed", failed, complete, nil, commands.ErrTransferFailed},
		{"completing nothing", nil, complete, nil, commands.ErrTransferNotFound},

		{"failing", requested, fail, isFailed, nil},
		{"failing again", failed, fail, nil, nil},
		{"failing again for another reason", failed, commands.FailTransfer{Reason: "no"}, nil, commands.ErrTransferFailed},
		{"failing what is completed", completed, fail, nil, commands.ErrTransferCompleted},
		{"failing nothing", nil, fail, nil, commands.ErrTransferNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			decision := estest.For(t, commands.Transfers).ID("t-1").Given(c.given...).When(c.when)
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
