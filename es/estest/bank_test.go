package estest_test

import (
	"time"

	"github.com/millstream-es/millstream/es"
)

// A small bank to try the kit on: accounts, transfers that must be approved, and the saga that carries them out.

type accountEvent interface {
	es.Event
	accountEvent()
}

type deposited struct {
	Amount int64 `json:"amount"`
}

type withdrawn struct {
	Amount int64 `json:"amount"`
}

func (deposited) EventType() string { return "Deposited" }
func (deposited) accountEvent()     {}
func (withdrawn) EventType() string { return "Withdrawn" }
func (withdrawn) accountEvent()     {}

type accountCommand interface {
	es.Command
	accountCommand()
}

type deposit struct {
	Amount int64 `json:"amount" jsonschema:"minimum=1"`
}

type withdraw struct {
	Amount int64 `json:"amount" jsonschema:"minimum=1"`
}

func (deposit) CommandType() string  { return "Deposit" }
func (deposit) accountCommand()      {}
func (withdraw) CommandType() string { return "Withdraw" }
func (withdraw) accountCommand()     {}

var errTooPoor = es.Rejected("too_poor", "the balance is too low")

type account struct {
	Balance int64
}

func (a account) Decide(command accountCommand, _ es.Meta) ([]accountEvent, error) {
	switch c := command.(type) {
	case deposit:
		return []accountEvent{deposited(c)}, nil
	case withdraw:
		if a.Balance < c.Amount {
			return nil, errTooPoor.With("balance is %d, %d are wanted", a.Balance, c.Amount).At("/amount")
		}
		return []accountEvent{withdrawn(c)}, nil
	}
	return nil, nil
}

func (a account) Evolve(event accountEvent) account {
	switch e := event.(type) {
	case deposited:
		a.Balance += e.Amount
	case withdrawn:
		a.Balance -= e.Amount
	}
	return a
}

func (a account) Allowed() []accountCommand {
	return []accountCommand{deposit{}}
}

type transferEvent interface {
	es.Event
	transferEvent()
}

type transferBegun struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"`
}

type transferApproved struct{}

type transferEnded struct {
	Done bool `json:"done"`
}

func (transferBegun) EventType() string    { return "TransferBegun" }
func (transferBegun) transferEvent()       {}
func (transferApproved) EventType() string { return "TransferApproved" }
func (transferApproved) transferEvent()    {}
func (transferEnded) EventType() string    { return "TransferEnded" }
func (transferEnded) transferEvent()       {}

type transferCommand interface {
	es.Command
	transferCommand()
}

type beginTransfer struct {
	From   string `json:"from" jsonschema:"minLength=1"`
	To     string `json:"to" jsonschema:"minLength=1"`
	Amount int64  `json:"amount" jsonschema:"minimum=1"`
}

type approveTransfer struct{}

type endTransfer struct {
	Done bool `json:"done"`
}

func (beginTransfer) CommandType() string   { return "BeginTransfer" }
func (beginTransfer) transferCommand()      {}
func (approveTransfer) CommandType() string { return "ApproveTransfer" }
func (approveTransfer) transferCommand()    {}
func (endTransfer) CommandType() string     { return "EndTransfer" }
func (endTransfer) transferCommand()        {}

type transfer struct{ Begun, Approved, Ended, Done bool }

func (t transfer) Decide(command transferCommand, _ es.Meta) ([]transferEvent, error) {
	switch c := command.(type) {
	case beginTransfer:
		if !t.Begun {
			return []transferEvent{transferBegun(c)}, nil
		}
	case approveTransfer:
		if !t.Approved && !t.Ended {
			return []transferEvent{transferApproved{}}, nil
		}
	case endTransfer:
		if !t.Ended {
			return []transferEvent{transferEnded(c)}, nil
		}
	}
	return nil, nil
}

func (t transfer) Evolve(event transferEvent) transfer {
	switch e := event.(type) {
	case transferBegun:
		t.Begun = true
	case transferApproved:
		t.Approved = true
	case transferEnded:
		t.Ended, t.Done = true, e.Done
	}
	return t
}

// carrier carries a transfer out once it is approved, or ends it after a quarter of an hour, at a fee.
type carrier struct {
	ID     string
	Begun  transferBegun
	Closed bool
}

func (c carrier) React(r es.Recorded) (carrier, []es.Effect) {
	switch e := r.Event.(type) {
	case transferBegun:
		c.ID, c.Begun = r.Stream.ID, e
		return c, []es.Effect{es.After{Name: "approval", Delay: 15 * time.Minute}}
	case transferApproved:
		if c.Closed {
			return c, nil
		}
		return c, []es.Effect{es.Cancel{Name: "approval"}, accounts.To(c.Begun.From, withdraw{c.Begun.Amount})}
	case es.Woken:
		c.Closed = true
		return c, []es.Effect{accounts.To("alarms", deposit{1}), transfers.To(c.ID, endTransfer{Done: false})}
	case es.Outcome:
		switch e.CommandType {
		case "Withdraw":
			c.Closed = true
			if e.Rejected() {
				return c, []es.Effect{transfers.To(c.ID, endTransfer{Done: false})}
			}
			return c, []es.Effect{accounts.To(c.Begun.To, deposit{c.Begun.Amount}), transfers.To(c.ID, endTransfer{Done: true})}
		case "EndTransfer":
			return c, []es.Effect{es.Done{}}
		}
	}
	return c, nil
}

var (
	accounts  = es.Define[account]("account", deposit{}, withdraw{})
	transfers = es.Define[transfer]("transfer", beginTransfer{}, approveTransfer{}, endTransfer{})
	carriers  = es.DefineSaga[carrier]("carrier", es.Interest{
		Handles: []es.Event{transferBegun{}, transferApproved{}},
		Ignores: []es.Event{transferEnded{}, deposited{}, withdrawn{}},
	}, func(r es.Recorded) (string, bool) { return r.Stream.ID, r.Stream.Category == "transfer" })
	bank = es.Domain{
		Name: "bank",
		Events: []es.EventDef{
			es.EventOf[deposited](1), es.EventOf[withdrawn](1),
			es.EventOf[transferBegun](1), es.EventOf[transferApproved](1), es.EventOf[transferEnded](1),
		},
		Aggregates: []es.Aggregate{accounts, transfers},
		Sagas:      []es.Saga{carriers},
	}
)
