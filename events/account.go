package events

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Account is an event of one account. Its balance follows from its own events and from nothing else.
//
//sumtype:decl
type Account interface {
	es.Event
	account()
}

// AccountOpened: the account can take money, in one currency for ever.
type AccountOpened struct {
	AccountID string `json:"accountId"`
	Owner     string `json:"owner" pii:"customer"`
	Currency  string `json:"currency"` // ISO 4217
}

// MoneyDeposited: money came in, from outside or by a transfer.
type MoneyDeposited struct {
	Amount       money.Decimal `json:"amount"`
	Currency     string        `json:"currency"`
	Reference    string        `json:"reference,omitempty"` // for people, as it was given
	TransferID   string        `json:"transferId,omitempty"`
	Counterparty string        `json:"counterparty,omitempty"` // the account that the transfer came from
	Balance      money.Decimal `json:"balance"`                // afterwards
}

// MoneyWithdrawn: money went out, to the outside or by a transfer.
type MoneyWithdrawn struct {
	Amount       money.Decimal `json:"amount"`
	Currency     string        `json:"currency"`
	Reference    string        `json:"reference,omitempty"` // for people, as it was given
	TransferID   string        `json:"transferId,omitempty"`
	Counterparty string        `json:"counterparty,omitempty"` // the account that the transfer goes to
	Balance      money.Decimal `json:"balance"`                // afterwards
}

// MoneyReturned: what a transfer had withdrawn came back. A closed account takes it too.
type MoneyReturned struct {
	TransferID string        `json:"transferId"`
	Amount     money.Decimal `json:"amount"`
	Currency   string        `json:"currency"`
	Reason     string        `json:"reason"`
	Balance    money.Decimal `json:"balance"` // afterwards
}

// TransferRefused: the account will have no part in the transfer, now or later. Also an account that does not exist
// can refuse, so that a repeated or late command of the transfer finds it refused when the account has been opened.
type TransferRefused struct {
	TransferID string `json:"transferId"`
	Code       string `json:"code"` // of the rejection, such as insufficient_funds
	Reason     string `json:"reason"`
}

// AccountClosed: the account takes no more deposits. It was empty.
type AccountClosed struct {
	Reason string `json:"reason"`
}

// The names on the wire. They never change.

func (AccountOpened) EventType() string   { return "AccountOpened" }
func (MoneyDeposited) EventType() string  { return "MoneyDeposited" }
func (MoneyWithdrawn) EventType() string  { return "MoneyWithdrawn" }
func (MoneyReturned) EventType() string   { return "MoneyReturned" }
func (TransferRefused) EventType() string { return "TransferRefused" }
func (AccountClosed) EventType() string   { return "AccountClosed" }

func (AccountOpened) account()   {}
func (MoneyDeposited) account()  {}
func (MoneyWithdrawn) account()  {}
func (MoneyReturned) account()   {}
func (TransferRefused) account() {}
func (AccountClosed) account()   {}
