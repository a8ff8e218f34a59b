package sagas

import (
	"slices"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

// mailName stands in subjects and command ids of every customer. It is durable: another name would begin every
// customer without an address.
const mailName = "mail"

// Mailings ask for a mail to the customer when an order is paid, shipped or cancelled. They are kept by customer, since
// the customer's events alone hold the address.
var Mailings = es.DefineSaga[Mailing](mailName, es.Interest{
	Handles: []es.Event{
		events.CustomerRegistered{}, events.CustomerRenamed{},
		events.OrderPaid{}, events.OrderShipped{}, events.OrderCancelled{},
	},
	Ignores: []es.Event{
		events.OrderCreated{}, events.OrderItemAdded{}, events.OrderDelivered{},
		events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{},
		events.StockReleased{}, events.StockShipped{},
		events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
		events.PaymentRefunded{},
		events.CustomerTierChanged{},
		events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
		events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
		events.MailRequested{}, events.MailSent{}, events.MailFailed{},
	},
}, recipientOf)

// recipientOf routes by customer id. Order events from before they named the customer belong to nobody.
func recipientOf(r es.Recorded) (string, bool) {
	id := ""
	switch e := r.Event.(type) {
	case events.CustomerRegistered, events.CustomerRenamed:
		id = r.Stream.ID
	case events.OrderPaid:
		id = e.CustomerID
	case events.OrderShipped:
		id = e.CustomerID
	case events.OrderCancelled:
		id = e.CustomerID
	}
	return id, es.ValidID(id)
}

// maxWaiting is how many mails wait for a customer to register; the oldest are given up first.
const maxWaiting = 20

// Mailing is what the saga remembers of one customer. It owes nothing while all that was asked for is answered: mails
// that wait for an address may wait for ever.
type Mailing struct {
	Customer   string   `json:"customer,omitempty"`
	Registered bool     `json:"registered,omitempty"`
	Email      string   `json:"email,omitempty" pii:"customer"` // empty when registered: none was given, so no mail is sent
	Name       string   `json:"name,omitempty" pii:"customer"`
	Waiting    []letter `json:"waiting,omitempty"` // for an address, or to be asked for again
	Asked      []letter `json:"asked,omitempty"`   // and not answered, in the order of asking
}

// letter is a mail without its address, which is added when it is asked for.
type letter struct {
	Order string               `json:"order"`
	Mail  commands.RequestMail `json:"mail"`
}

// React takes an input in, then asks for all mails that can be sent.
func (m Mailing) React(r es.Recorded) (Mailing, []es.Effect) {
	m.Waiting, m.Asked = slices.Clone(m.Waiting), slices.Clone(m.Asked)
	switch e := r.Event.(type) {
	case events.CustomerRegistered:
		m.Customer, m.Registered, m.Email, m.Name = r.Stream.ID, true, e.Email, e.Name
	case events.CustomerRenamed:
		m.Customer, m.Name = r.Stream.ID, e.Name
	case events.OrderPaid:
		m.owe(r, commands.RequestMail{
			Kind: commands.MailConfirmation, CustomerID: e.CustomerID, OrderNumber: e.OrderNumber, Amount: e.Amount, Currency: e.Currency,
		})
	case events.OrderShipped:
		m.owe(r, commands.RequestMail{
			Kind: commands.MailShipped, CustomerID: e.CustomerID, OrderNumber: e.OrderNumber, TrackingNumber: e.TrackingNumber,
		})
	case events.OrderCancelled:
		m.owe(r, commands.RequestMail{
			Kind: commands.MailCancelled, CustomerID: e.CustomerID, OrderNumber: e.OrderNumber, Reason: e.Reason,
		})
	case es.Outcome:
		return m, m.answered(e)
	}
	return m, m.ask()
}

func (m *Mailing) owe(r es.Recorded, mail commands.RequestMail) {
	m.Customer = mail.CustomerID
	m.Waiting = append(m.Waiting, letter{r.Stream.ID, mail})
}

// ask asks for every mail that waits, when there is an address, and gives up those that wait in vain.
func (m *Mailing) ask() []es.Effect {
	var effects []es.Effect
	switch {
	case m.Email != "":
		for _, l := range m.Waiting {
			l.Mail.To, l.Mail.Name = m.Email, m.Name
			effects = append(effects, commands.Mails.To(l.Order, l.Mail))
		}
		m.Asked, m.Waiting = append(m.Asked, m.Waiting...), nil
	case m.Registered:
		m.Waiting = nil
	case len(m.Waiting) > maxWaiting:
		m.Waiting = slices.Delete(m.Waiting, 0, len(m.Waiting)-maxWaiting)
	}
	return append(effects, m.done()...)
}

// answered takes one answer in. Rejected is as good as done: somebody else has asked for this mail.
func (m *Mailing) answered(o es.Outcome) []es.Effect {
	i := slices.IndexFunc(m.Asked, func(l letter) bool { return l.Order == o.Target.ID })
	if i < 0 {
		return m.done()
	}
	l := m.Asked[i]
	m.Asked = slices.Delete(m.Asked, i, i+1)
	if lost(o) {
		m.Waiting = append(m.Waiting, l)
		return []es.Effect{es.After{Name: wakeRetry, Delay: retryDelay}}
	}
	return m.done()
}

// done says whether nothing is owed.
func (m *Mailing) done() []es.Effect {
	if len(m.Asked) > 0 || m.Email != "" && len(m.Waiting) > 0 {
		return nil
	}
	return []es.Effect{es.Done{}}
}
