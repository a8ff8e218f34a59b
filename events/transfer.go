package events

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Transfer is an event of one transfer between two accounts. The transfer's id is the stream's.
//
//sumtype:decl
type Transfer interface {
	es.Event
	transfer()
}

// TransferRequested: an amount is to go from one account to another.
type TransferRequested struct {
	From      string        `json:"from"`
	To        string        `json:"to"`
	Amount    money.Decimal `json:"amount"`
	Currency  string        `json:"currency"`            // of both accounts
	Reference string        `json:"reference,omitempty"` // for people, as it was given
}

// TransferCompleted: the amount stands on the other account.
type TransferCompleted struct{}

// TransferFailed: nothing was moved, or all was given back.
type TransferFailed struct {
	Reason string `json:"reason"`
}

// The names on the wire. They never change.

func (TransferRequested) EventType() string { return "TransferRequested" }
func (TransferCompleted) EventType() string { return "TransferCompleted" }
func (TransferFailed) EventType() string    { return "TransferFailed" }

func (TransferRequested) transfer() {}
func (TransferCompleted) transfer() {}
func (TransferFailed) transfer()    {}
