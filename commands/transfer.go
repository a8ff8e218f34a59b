package commands

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// Transfers is the aggregate of one transfer between two accounts: what was asked for, and how it ended. The money
// itself is moved by the accounts.
var Transfers = es.Define[Transfer]("transfer",
	RequestTransfer{}, CompleteTransfer{}, FailTransfer{}).
	Internal(CompleteTransfer{}, FailTransfer{})

// TransferCommand is a command to a transfer.
//
//sumtype:decl
type TransferCommand interface {
	es.Command
	transferCommand()
}

// RequestTransfer has an amount moved from one account to another.
type RequestTransfer struct {
	From      string        `json:"from" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=a-1"`
	To        string        `json:"to" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=a-2"`
	Amount    money.Decimal `json:"amount" jsonschema:"exclusiveMinimum=0,example=12.34"`
	Currency  string        `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=EUR,description=Of both accounts"`
	Reference string        `json:"reference,omitempty" jsonschema:"maxLength=140,example=rent"`
}

// CompleteTransfer says that the money has arrived. The saga sends it.
type CompleteTransfer struct{}

// FailTransfer says that nothing was moved, or all was given back. The saga sends it.
type FailTransfer struct {
	Reason string `json:"reason" jsonschema:"pattern=\\S,maxLength=500,example=account a-2 is closed"`
}

// The names on the wire. They never change.

func (RequestTransfer) CommandType() string  { return "RequestTransfer" }
func (CompleteTransfer) CommandType() string { return "CompleteTransfer" }
func (FailTransfer) CommandType() string     { return "FailTransfer" }

func (RequestTransfer) transferCommand()  {}
func (CompleteTransfer) transferCommand() {}
func (FailTransfer) transferCommand()     {}

// Rejections of a transfer.
var (
	ErrTransferNotFound  = es.NotFound("transfer_not_found", "transfer does not exist")
	ErrTransferExists    = es.Rejected("transfer_already_exists", "transfer already exists, with other contents")
	ErrSameAccount       = es.Rejected("same_account", "money cannot be transferred to the account it comes from")
	ErrTransferCompleted = es.Rejected("transfer_completed", "transfer is already completed")
	ErrTransferFailed    = es.Rejected("transfer_failed", "transfer has failed")
)

// The statuses of a transfer; "" is one that does not exist.
const (
	transferRequested = "REQUESTED"
	transferCompleted = "COMPLETED"
	transferFailed    = "FAILED"
)

// Transfer is what a transfer remembers.
type Transfer struct {
	Status    string        `json:"status"` // REQUESTED, COMPLETED, FAILED
	From      string        `json:"from"`
	To        string        `json:"to"`
	Amount    money.Decimal `json:"amount"`
	Currency  string        `json:"currency"`
	Reference string        `json:"reference,omitempty"`
	Reason    string        `json:"reason,omitempty"` // of FAILED
}

// Decide says what a command leads to.
func (t Transfer) Decide(c TransferCommand, m es.Meta) ([]events.Transfer, error) {
	if _, requests := c.(RequestTransfer); !requests && t.Status == "" {
		return nil, ErrTransferNotFound.With("transfer %s does not exist", m.Stream.ID)
	}
	switch c := c.(type) {
	case RequestTransfer:
		return t.request(c)
	case CompleteTransfer:
		switch t.Status {
		case transferFailed:
			return nil, ErrTransferFailed.With("transfer has failed: %s", t.Reason)
		case transferCompleted:
			return nil, nil
		}
		return []events.Transfer{events.TransferCompleted(c)}, nil
	case FailTransfer:
		switch {
		case t.Status == transferCompleted:
			return nil, ErrTransferCompleted
		case t.Status == transferFailed && c.Reason == t.Reason:
			return nil, nil
		case t.Status == transferFailed:
			return nil, ErrTransferFailed.With("transfer has already failed: %s", t.Reason)
		}
		return []events.Transfer{events.TransferFailed(c)}, nil
	}
	return nil, unknownCommand(c)
}

func (t Transfer) request(c RequestTransfer) ([]events.Transfer, error) {
	if t.Status != "" {
		if c == (RequestTransfer{t.From, t.To, t.Amount, t.Currency, t.Reference}) {
			return nil, nil
		}
		return nil, ErrTransferExists
	}
	if c.From == c.To {
		return nil, ErrSameAccount.At("/to")
	}
	if err := checkAmount(c.Amount, c.Currency, "/amount"); err != nil {
		return nil, err
	}
	return []events.Transfer{events.TransferRequested(c)}, nil
}

// Evolve returns the transfer after an event.
func (t Transfer) Evolve(e events.Transfer) Transfer {
	switch e := e.(type) {
	case events.TransferRequested:
		return Transfer{Status: transferRequested, From: e.From, To: e.To, Amount: e.Amount, Currency: e.Currency, Reference: e.Reference}
	case events.TransferCompleted:
		t.Status = transferCompleted
	case events.TransferFailed:
		t.Status, t.Reason = transferFailed, e.Reason
	}
	return t
}

// Allowed are the commands that the transfer would take now.
func (t Transfer) Allowed() []TransferCommand {
	switch t.Status {
	case "":
		return []TransferCommand{RequestTransfer{}}
	case transferRequested:
		return []TransferCommand{CompleteTransfer{}, FailTransfer{}}
	}
	return nil
}
