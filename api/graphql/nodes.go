package graphql

import (
	"encoding/json"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/queries"
)

// The things of the schema that lead to others: what a query answers, with those it came together with.
type (
	// Order is an order among others.
	Order struct {
		queries.Order
		among *siblings[*Order]
	}
	// FoundOrder is an order that a search found, among others.
	FoundOrder struct {
		queries.FoundOrder
		among *siblings[*FoundOrder]
	}
	// Customer is a customer among others.
	Customer struct {
		queries.Customer
		among *siblings[*Customer]
	}
	// CustomerOverview is a customer at a glance.
	CustomerOverview struct {
		queries.CustomerOverview
		Customer *Customer
	}
	// Payment is a payment among others.
	Payment struct {
		queries.Payment
		among *siblings[*Payment]
	}
	// Mail is a mail among others.
	Mail struct {
		queries.Mail
		among *siblings[*Mail]
	}
	// StockLevel is a product's stock among others.
	StockLevel struct {
		queries.StockLevel
		among *siblings[*StockLevel]
	}
	// Account is an account among others.
	Account struct {
		queries.Account
		among *siblings[*Account]
	}
	// Transfer is a transfer.
	Transfer struct {
		queries.Transfer
		among *siblings[*Transfer]
	}
)

// Event is a fact with the thing that it is about.
type Event struct {
	queries.Entry
	Category    string
	AggregateID string
}

// EventNotice is what a subscription tells of one commit.
type EventNotice struct {
	Revision es.Revision
	Live     bool
	Events   []Event
}

func recorded(r es.Recorded) (Event, error) {
	data, err := json.Marshal(r.Event)
	return Event{
		Entry: queries.Entry{
			Version: r.Version, Revision: r.Revision, ID: r.ID, Type: r.EventType(), Time: r.Time, User: r.User,
			CommandID: r.CommandID, CorrelationID: r.Correlation, CausationID: r.Causation, Data: data,
		},
		Category: r.Stream.Category, AggregateID: r.Stream.ID,
	}, es.Permanent(err)
}

func newOrder(o queries.Order, among *siblings[*Order]) *Order { return &Order{o, among} }

func newFoundOrder(f queries.FoundOrder, among *siblings[*FoundOrder]) *FoundOrder {
	return &FoundOrder{f, among}
}

func newCustomer(c queries.Customer, among *siblings[*Customer]) *Customer {
	return &Customer{c, among}
}

func newPayment(p queries.Payment, among *siblings[*Payment]) *Payment { return &Payment{p, among} }

func newMail(m queries.Mail, among *siblings[*Mail]) *Mail { return &Mail{m, among} }

func newStockLevel(s queries.StockLevel, among *siblings[*StockLevel]) *StockLevel {
	return &StockLevel{s, among}
}

func newAccount(a queries.Account, among *siblings[*Account]) *Account { return &Account{a, among} }

func newTransaction(t queries.Transaction, _ *siblings[queries.Transaction]) queries.Transaction {
	return t
}

func newTransfer(t queries.Transfer, among *siblings[*Transfer]) *Transfer {
	return &Transfer{t, among}
}
