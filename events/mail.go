package events

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Mail is an event of the mails about one order, whose id is the stream's.
//
//sumtype:decl
type Mail interface {
	es.Event
	mail()
}

// MailRequested: a mail is to be sent. It holds all that its text needs.
type MailRequested struct {
	Kind           string        `json:"kind"` // confirmation, shipped or cancelled
	To             string        `json:"to" pii:"customer"`
	Name           string        `json:"name,omitempty" pii:"customer"`
	CustomerID     string        `json:"customerId"`
	OrderNumber    string        `json:"orderNumber"`
	Amount         money.Decimal `json:"amount,omitzero"`          // of a confirmation: what was paid
	Currency       string        `json:"currency,omitempty"`       // of the amount
	TrackingNumber string        `json:"trackingNumber,omitempty"` // of shipped
	Reason         string        `json:"reason,omitempty"`         // of cancelled
}

// MailSent: the mail server took the mail.
type MailSent struct {
	Kind      string `json:"kind"`
	MessageID string `json:"messageId"` // the mail's header Message-ID
}

// MailFailed: the mail server refused the mail for good.
type MailFailed struct {
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
}

// The names on the wire. They never change.

func (MailRequested) EventType() string { return "MailRequested" }
func (MailSent) EventType() string      { return "MailSent" }
func (MailFailed) EventType() string    { return "MailFailed" }

func (MailRequested) mail() {}
func (MailSent) mail()      {}
func (MailFailed) mail()    {}
