package commands

import (
	"errors"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// Accounts is the aggregate of one account.
var Accounts = es.Define[Account]("account",
	OpenAccount{}, DepositMoney{}, WithdrawMoney{}, CloseAccount{},
	SendTransfer{}, ReceiveTransfer{}, ReturnTransfer{}).
	Internal(SendTransfer{}, ReceiveTransfer{}, ReturnTransfer{})

// AccountCommand is a command to an account.
//
//sumtype:decl
type AccountCommand interface {
	es.Command
	accountCommand()
}

// OpenAccount makes an account that holds one currency.
type OpenAccount struct {
	Owner    string `json:"owner" jsonschema:"pattern=\\S,maxLength=200,example=Ada Lovelace"`
	Currency string `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=EUR,description=ISO 4217"`
}

// DepositMoney brings money in from outside.
type DepositMoney struct {
	Amount    money.Decimal `json:"amount" jsonschema:"exclusiveMinimum=0,example=100"`
	Currency  string        `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=EUR,description=The account's"`
	Reference string        `json:"reference,omitempty" jsonschema:"maxLength=140,example=salary"`
}

// WithdrawMoney pays money out.
type WithdrawMoney struct {
	Amount    money.Decimal `json:"amount" jsonschema:"exclusiveMinimum=0,example=12.34"`
	Currency  string        `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=EUR,description=The account's"`
	Reference string        `json:"reference,omitempty" jsonschema:"maxLength=140,example=cash"`
}

// CloseAccount ends an account that is empty.
type CloseAccount struct {
	Reason string `json:"reason" jsonschema:"pattern=\\S,maxLength=500,example=moved to another bank"`
}

// SendTransfer, ReceiveTransfer and ReturnTransfer are an account's part in a transfer; the saga sends them. An account
// answers each transfer once, and its answer, also a refusal, stands in the log: whatever is sent again, and however
// late, moves nothing twice.

// SendTransfer withdraws what a transfer is to move.
type SendTransfer struct {
	TransferID string        `json:"transferId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=t-1"`
	To         string        `json:"to" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=a-2"`
	Amount     money.Decimal `json:"amount" jsonschema:"exclusiveMinimum=0,example=12.34"`
	Currency   string        `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=EUR"`
	Reference  string        `json:"reference,omitempty" jsonschema:"maxLength=140,example=rent"`
}

// ReceiveTransfer deposits what a transfer moves.
type ReceiveTransfer struct {
	TransferID string        `json:"transferId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=t-1"`
	From       string        `json:"from" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=a-1"`
	Amount     money.Decimal `json:"amount" jsonschema:"exclusiveMinimum=0,example=12.34"`
	Currency   string        `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=EUR"`
	Reference  string        `json:"reference,omitempty" jsonschema:"maxLength=140,example=rent"`
}

// ReturnTransfer gives back what SendTransfer withdrew, also to an account that was closed meanwhile.
type ReturnTransfer struct {
	TransferID string `json:"transferId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=t-1"`
	Reason     string `json:"reason" jsonschema:"pattern=\\S,maxLength=500,example=account a-2 is closed"`
}

// The names on the wire. They never change.

func (OpenAccount) CommandType() string     { return "OpenAccount" }
func (DepositMoney) CommandType() string    { return "DepositMoney" }
func (WithdrawMoney) CommandType() string   { return "WithdrawMoney" }
func (CloseAccount) CommandType() string    { return "CloseAccount" }
func (SendTransfer) CommandType() string    { return "SendTransfer" }
func (ReceiveTransfer) CommandType() string { return "ReceiveTransfer" }
func (ReturnTransfer) CommandType() string  { return "ReturnTransfer" }

func (OpenAccount) accountCommand()     {}
func (DepositMoney) accountCommand()    {}
func (WithdrawMoney) accountCommand()   {}
func (CloseAccount) accountCommand()    {}
func (SendTransfer) accountCommand()    {}
func (ReceiveTransfer) accountCommand() {}
func (ReturnTransfer) accountCommand()  {}

// Rejections of an account.
var (
	ErrAccountNotFound   = es.NotFound("account_not_found", "account does not exist")
	ErrAccountExists     = es.Rejected("account_already_exists", "account already exists, with another owner or currency")
	ErrAccountClosed     = es.Rejected("account_closed", "account is closed")
	ErrInsufficientFunds = es.Rejected("insufficient_funds", "the account has less than that")
	ErrBalanceNotZero    = es.Rejected("balance_not_zero", "only an empty account can be closed")
	ErrTransferRefused   = es.Rejected("transfer_refused", "the account has refused this transfer")
	ErrTransferAnswered  = es.Rejected("transfer_already_answered", "the account has already had another part in this transfer")
	ErrNothingToReturn   = es.Rejected("nothing_to_return", "the transfer took nothing from this account")
)

// The statuses of an account; "" is one that does not exist.
const (
	accountOpen   = "OPEN"
	accountClosed = "CLOSED"
)

// Account is what an account remembers. Its balance is never below zero.
type Account struct {
	Status    string        `json:"status"` // OPEN, CLOSED
	Owner     string        `json:"owner" pii:"customer"`
	Currency  string        `json:"currency"`
	Balance   money.Decimal `json:"balance"` // of a closed account: what was given back to it and is not paid out yet
	Transfers IDMap[Leg]    `json:"transfers"`
}

// Leg is an account's answer to one transfer; the zero value is none.
type Leg struct {
	Status string        `json:"status"` // SENT, RETURNED, RECEIVED, REFUSED
	Amount money.Decimal `json:"amount"` // 0: REFUSED
	Reason string        `json:"reason"` // of REFUSED
}

// The statuses of a leg.
const (
	legSent     = "SENT"
	legReturned = "RETURNED"
	legReceived = "RECEIVED"
	legRefused  = "REFUSED"
)

// JSONSchema describes the JSON form.
func (Leg) JSONSchema() string {
	return `{"type":"object","required":["status","amount","reason"],"properties":{` +
		`"status":{"enum":["SENT","RETURNED","RECEIVED","REFUSED"]},"amount":{"type":"number"},"reason":{"type":"string"}}}`
}

// Decide says what a command leads to.
func (a Account) Decide(c AccountCommand, m es.Meta) ([]events.Account, error) {
	id := m.Stream.ID
	switch c := c.(type) {
	case OpenAccount:
		return a.open(c, id)
	case DepositMoney:
		balance, err := a.credit(id, c.Amount, c.Currency)
		if err != nil {
			return nil, err
		}
		return []events.Account{events.MoneyDeposited{Amount: c.Amount, Currency: c.Currency, Reference: c.Reference, Balance: balance}}, nil
	case WithdrawMoney:
		balance, err := a.debit(id, c.Amount, c.Currency)
		if err != nil {
			return nil, err
		}
		return []events.Account{events.MoneyWithdrawn{Amount: c.Amount, Currency: c.Currency, Reference: c.Reference, Balance: balance}}, nil
	case CloseAccount:
		return a.close(c, id)
	case SendTransfer:
		return a.send(c, id)
	case ReceiveTransfer:
		return a.receive(c, id)
	case ReturnTransfer:
		return a.giveBack(c)
	}
	return nil, unknownCommand(c)
}

func (a Account) open(c OpenAccount, id string) ([]events.Account, error) {
	switch {
	case a.Status == accountClosed:
		return nil, ErrAccountClosed.With("account %s is closed, and is not opened again", id)
	case a.Status == accountOpen && c == OpenAccount{a.Owner, a.Currency}:
		return nil, nil
	case a.Status == accountOpen:
		return nil, ErrAccountExists
	}
	if err := checkAmount(money.Decimal{}, c.Currency, ""); err != nil {
		return nil, err
	}
	return []events.Account{events.AccountOpened{AccountID: id, Owner: c.Owner, Currency: c.Currency}}, nil
}

// credit returns the balance after money came in.
func (a Account) credit(id string, amount money.Decimal, currency string) (money.Decimal, error) {
	balance := a.Balance.Add(amount)
	if err := a.check(id, amount, currency); err != nil {
		return balance, err
	}
	if a.Status == accountClosed {
		return balance, ErrAccountClosed.With("account %s is closed", id)
	}
	return balance, checkAmount(balance, currency, "/amount")
}

// debit returns the balance after money went out. What was given back to a closed account can still be paid out.
func (a Account) debit(id string, amount money.Decimal, currency string) (money.Decimal, error) {
	balance := a.Balance.Sub(amount)
	if err := a.check(id, amount, currency); err != nil {
		return balance, err
	}
	switch {
	case a.Status == accountClosed && a.Balance.Sign() == 0:
		return balance, ErrAccountClosed.With("account %s is closed", id)
	case balance.Sign() < 0:
		// The balance is not told: the other side of a transfer reads this too.
		return balance, ErrInsufficientFunds.With("account %s has less than %s", id, money.Money{Amount: amount, Currency: currency}).At("/amount")
	}
	return balance, nil
}

// check refuses what could never move on this account.
func (a Account) check(id string, amount money.Decimal, currency string) error {
	switch {
	case a.Status == "":
		return ErrAccountNotFound.With("account %s does not exist", id)
	case currency != a.Currency:
		return ErrCurrencyMismatch.With("account %s holds %s, not %s", id, a.Currency, currency).At("/currency")
	}
	return checkAmount(amount, currency, "/amount")
}

func (a Account) close(c CloseAccount, id string) ([]events.Account, error) {
	switch {
	case a.Status == "":
		return nil, ErrAccountNotFound.With("account %s does not exist", id)
	case a.Status == accountClosed:
		return nil, nil
	case a.Balance.Sign() != 0:
		return nil, ErrBalanceNotZero.With("account %s still has %s: only an empty account can be closed", id, money.Money{Amount: a.Balance, Currency: a.Currency})
	}
	return []events.Account{events.AccountClosed(c)}, nil
}

func (a Account) send(c SendTransfer, id string) ([]events.Account, error) {
	if leg := a.Transfers.Get(c.TransferID); leg.Status != "" {
		return nil, leg.again(legSent, c.Amount, c.Currency == a.Currency)
	}
	balance, err := a.debit(id, c.Amount, c.Currency)
	if err != nil {
		return refuse(c.TransferID, err)
	}
	return []events.Account{events.MoneyWithdrawn{
		Amount: c.Amount, Currency: c.Currency, Reference: c.Reference, TransferID: c.TransferID, Counterparty: c.To, Balance: balance,
	}}, nil
}

func (a Account) receive(c ReceiveTransfer, id string) ([]events.Account, error) {
	if leg := a.Transfers.Get(c.TransferID); leg.Status != "" {
		return nil, leg.again(legReceived, c.Amount, c.Currency == a.Currency)
	}
	balance, err := a.credit(id, c.Amount, c.Currency)
	if err != nil {
		return refuse(c.TransferID, err)
	}
	return []events.Account{events.MoneyDeposited{
		Amount: c.Amount, Currency: c.Currency, Reference: c.Reference, TransferID: c.TransferID, Counterparty: c.From, Balance: balance,
	}}, nil
}

func (a Account) giveBack(c ReturnTransfer) ([]events.Account, error) {
	leg := a.Transfers.Get(c.TransferID)
	switch leg.Status {
	case legReturned:
		return nil, nil
	case legSent:
	default:
		return nil, ErrNothingToReturn.With("transfer %s took nothing from this account", c.TransferID)
	}
	balance := a.Balance.Add(leg.Amount)
	if err := checkAmount(balance, a.Currency, ""); err != nil {
		return nil, err
	}
	return []events.Account{events.MoneyReturned{
		TransferID: c.TransferID, Amount: leg.Amount, Currency: a.Currency, Reason: c.Reason, Balance: balance,
	}}, nil
}

// again answers a transfer that was answered before: nil when it was with this.
func (l Leg) again(status string, amount money.Decimal, sameCurrency bool) error {
	switch {
	case l.Status == legRefused:
		return ErrTransferRefused.With("%s", l.Reason)
	case l.Status != status || l.Amount != amount || !sameCurrency:
		return ErrTransferAnswered
	}
	return nil
}

// refuse makes a rejection an event, so that it is the account's answer for good.
func refuse(transferID string, err error) ([]events.Account, error) {
	var no *es.Rejection
	if !errors.As(err, &no) {
		return nil, err
	}
	return []events.Account{events.TransferRefused{TransferID: transferID, Code: no.Code, Reason: no.Message}}, nil
}

// Evolve returns the account after an event.
func (a Account) Evolve(e events.Account) Account {
	switch e := e.(type) {
	case events.AccountOpened:
		a.Status, a.Owner, a.Currency = accountOpen, e.Owner, e.Currency
	case events.MoneyDeposited:
		a.Balance = e.Balance
		a.answer(e.TransferID, Leg{Status: legReceived, Amount: e.Amount})
	case events.MoneyWithdrawn:
		a.Balance = e.Balance
		a.answer(e.TransferID, Leg{Status: legSent, Amount: e.Amount})
	case events.MoneyReturned:
		a.Balance = e.Balance
		a.answer(e.TransferID, Leg{Status: legReturned, Amount: e.Amount})
	case events.TransferRefused:
		a.answer(e.TransferID, Leg{Status: legRefused, Reason: e.Reason})
	case events.AccountClosed:
		a.Status = accountClosed
	}
	return a
}

func (a *Account) answer(transferID string, leg Leg) {
	if transferID != "" {
		a.Transfers = a.Transfers.With(transferID, leg)
	}
}

// Allowed are the commands that the account would take now, for one transfer or another.
func (a Account) Allowed() []AccountCommand {
	transfers := []AccountCommand{SendTransfer{}, ReceiveTransfer{}, ReturnTransfer{}}
	switch {
	case a.Status == "":
		return append([]AccountCommand{OpenAccount{}}, transfers...)
	case a.Status == accountClosed && a.Balance.Sign() == 0:
		return transfers
	case a.Status == accountClosed:
		return append([]AccountCommand{WithdrawMoney{}}, transfers...)
	case a.Balance.Sign() == 0:
		return append([]AccountCommand{DepositMoney{}, CloseAccount{}}, transfers...)
	}
	return append([]AccountCommand{DepositMoney{}, WithdrawMoney{}}, transfers...)
}
