package commands

import (
	"maps"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// Mails is the aggregate of the mails about one order; the order is the stream's id. One aggregate for all of them
// makes each kind unique, and lets them leave the house one after the other.
var Mails = es.Define[Mail]("mail", RequestMail{}, RecordMailSent{}, RecordMailFailure{}).
	Internal(RecordMailSent{}, RecordMailFailure{})

// MailCommand is a command to the mails about an order.
//
//sumtype:decl
type MailCommand interface {
	es.Command
	mailCommand()
}

// The kinds of mail. They stand in events.
const (
	MailConfirmation = "confirmation"
	MailShipped      = "shipped"
	MailCancelled    = "cancelled"
)

// RequestMail has a mail sent, once. One that failed may be requested again, to another address if need be.
type RequestMail struct {
	Kind           string        `json:"kind" jsonschema:"enum=confirmation,enum=shipped,enum=cancelled,example=shipped"`
	To             string        `json:"to" jsonschema:"pattern=^[^@\\s]+@[^@\\s]+$,maxLength=254,example=ada@example.com"`
	Name           string        `json:"name,omitempty" jsonschema:"maxLength=200,example=Ada Lovelace"`
	CustomerID     string        `json:"customerId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=c-1"`
	OrderNumber    string        `json:"orderNumber" jsonschema:"pattern=\\S,maxLength=64,example=o-1"`
	Amount         money.Decimal `json:"amount,omitzero" jsonschema:"minimum=0,description=Of a confirmation: what was paid"`
	Currency       string        `json:"currency,omitempty" jsonschema:"pattern=^[A-Z]{3}$,description=ISO 4217"`
	TrackingNumber string        `json:"trackingNumber,omitempty" jsonschema:"maxLength=100,example=1Z999,description=Of shipped"`
	Reason         string        `json:"reason,omitempty" jsonschema:"maxLength=500,description=Of cancelled"`
}

// RecordMailSent says that the mail server took a mail.
type RecordMailSent struct {
	Kind      string `json:"kind" jsonschema:"enum=confirmation,enum=shipped,enum=cancelled,example=shipped"`
	MessageID string `json:"messageId" jsonschema:"pattern=\\S,maxLength=300,example=4711@example.com,description=The mail's header Message-ID"`
}

// RecordMailFailure says that the mail server refused a mail for good.
type RecordMailFailure struct {
	Kind   string `json:"kind" jsonschema:"enum=confirmation,enum=shipped,enum=cancelled,example=shipped"`
	Reason string `json:"reason" jsonschema:"pattern=\\S,maxLength=500,example=550 no such user"`
}

// The names on the wire. They never change.

func (RequestMail) CommandType() string       { return "RequestMail" }
func (RecordMailSent) CommandType() string    { return "RecordMailSent" }
func (RecordMailFailure) CommandType() string { return "RecordMailFailure" }

func (RequestMail) mailCommand()       {}
func (RecordMailSent) mailCommand()    {}
func (RecordMailFailure) mailCommand() {}

// Rejections of mails.
var (
	ErrMailNotFound  = es.NotFound("mail_not_found", "no such mail was requested")
	ErrMailRequested = es.Rejected("mail_already_requested", "this mail was already requested, with other contents")
	ErrMailSent      = es.Rejected("mail_already_sent", "this mail was already sent")
)

// The statuses of a mail.
const (
	mailRequested = "REQUESTED"
	mailSent      = "SENT"
	mailFailed    = "FAILED"
)

// Mail is what the mails about one order remember.
type Mail struct {
	Letters map[string]Letter `json:"letters,omitempty"` // by kind
}

// Letter is one mail.
type Letter struct {
	Status    string               `json:"status"` // REQUESTED, SENT, FAILED
	Request   events.MailRequested `json:"request"`
	MessageID string               `json:"messageId,omitempty"`
	Reason    string               `json:"reason,omitempty"` // of the failure
}

// Decide says what a command leads to.
func (m Mail) Decide(c MailCommand, meta es.Meta) ([]events.Mail, error) {
	switch c := c.(type) {
	case RequestMail:
		return m.request(c)
	case RecordMailSent:
		letter, err := m.letter(c.Kind, meta)
		if err != nil || letter.Status == mailSent && letter.MessageID == c.MessageID {
			return nil, err
		}
		if letter.Status == mailSent {
			return nil, ErrMailSent.With("this mail was already sent, as %s", letter.MessageID)
		}
		return []events.Mail{events.MailSent(c)}, nil // also after a failure: what left the house has left it
	case RecordMailFailure:
		letter, err := m.letter(c.Kind, meta)
		switch {
		case err != nil, letter.Status == mailFailed:
			return nil, err
		case letter.Status == mailSent:
			return nil, ErrMailSent
		}
		return []events.Mail{events.MailFailed(c)}, nil
	}
	return nil, unknownCommand(c)
}

func (m Mail) request(c RequestMail) ([]events.Mail, error) {
	if c.Currency != "" {
		if err := checkAmount(c.Amount, c.Currency, "/amount"); err != nil {
			return nil, err
		}
	}
	switch letter := m.Letters[c.Kind]; {
	case letter.Status == "", letter.Status == mailFailed:
		return []events.Mail{events.MailRequested(c)}, nil
	case letter.Request == events.MailRequested(c):
		return nil, nil
	}
	return nil, ErrMailRequested
}

func (m Mail) letter(kind string, meta es.Meta) (Letter, error) {
	letter, ok := m.Letters[kind]
	if !ok {
		return Letter{}, ErrMailNotFound.With("no %s mail was requested for order %s", kind, meta.Stream.ID)
	}
	return letter, nil
}

// Evolve returns the mails after an event.
func (m Mail) Evolve(e events.Mail) Mail {
	switch e := e.(type) {
	case events.MailRequested:
		return m.with(e.Kind, Letter{Status: mailRequested, Request: e})
	case events.MailSent:
		letter := m.Letters[e.Kind]
		letter.Status, letter.MessageID, letter.Reason = mailSent, e.MessageID, ""
		return m.with(e.Kind, letter)
	case events.MailFailed:
		letter := m.Letters[e.Kind]
		letter.Status, letter.Reason = mailFailed, e.Reason
		return m.with(e.Kind, letter)
	}
	return m
}

// with copies, since older values keep theirs; there are three kinds.
func (m Mail) with(kind string, letter Letter) Mail {
	letters := maps.Clone(m.Letters)
	if letters == nil {
		letters = map[string]Letter{}
	}
	letters[kind] = letter
	return Mail{letters}
}

// Allowed are the commands that the mails would take now, for one kind or another.
func (m Mail) Allowed() []MailCommand {
	if len(m.Letters) == 0 {
		return []MailCommand{RequestMail{}}
	}
	return []MailCommand{RequestMail{}, RecordMailSent{}, RecordMailFailure{}}
}
