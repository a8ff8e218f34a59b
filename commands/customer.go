package commands

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

// Customers is the aggregate of one customer.
var Customers = es.Define[Customer]("customer",
	RegisterCustomer{}, RenameCustomer{}, ChangeCustomerTier{})

// CustomerCommand is a command to a customer.
//
//sumtype:decl
type CustomerCommand interface {
	es.Command
	customerCommand()
}

// RegisterCustomer makes a customer known, in the tier "standard".
type RegisterCustomer struct {
	Name  string `json:"name" jsonschema:"pattern=\\S,maxLength=200,example=Ada Lovelace"`
	Email string `json:"email,omitempty" jsonschema:"pattern=^[^@\\s]+@[^@\\s]+$,maxLength=254,example=ada@example.com"`
	Phone string `json:"phone,omitempty" jsonschema:"pattern=[0-9],maxLength=40,example=+44 20 7946 0000"`
}

// RenameCustomer gives a customer another name.
type RenameCustomer struct {
	Name string `json:"name" jsonschema:"pattern=\\S,maxLength=200,example=Ada King"`
}

// ChangeCustomerTier moves a customer up or down.
type ChangeCustomerTier struct {
	Tier string `json:"tier" jsonschema:"enum=standard,enum=silver,enum=gold,enum=platinum,example=silver"`
}

// The names on the wire. They never change.

func (RegisterCustomer) CommandType() string   { return "RegisterCustomer" }
func (RenameCustomer) CommandType() string     { return "RenameCustomer" }
func (ChangeCustomerTier) CommandType() string { return "ChangeCustomerTier" }

func (RegisterCustomer) customerCommand()   {}
func (RenameCustomer) customerCommand()     {}
func (ChangeCustomerTier) customerCommand() {}

// Rejections of a customer.
var (
	ErrCustomerNotFound = es.NotFound("customer_not_found", "customer does not exist")
	ErrCustomerExists   = es.Rejected("customer_already_exists", "customer already exists, with other contents")
)

const tierStandard = "standard"

// Customer is what a customer remembers.
type Customer struct {
	Name  string `json:"name" pii:"customer"`
	Email string `json:"email,omitempty" pii:"customer"`
	Phone string `json:"phone,omitempty" pii:"customer"`
	Tier  string `json:"tier"` // standard, silver, gold, platinum; "": not registered
}

// Decide says what a command leads to.
func (u Customer) Decide(c CustomerCommand, m es.Meta) ([]events.Customer, error) {
	if _, registers := c.(RegisterCustomer); !registers && u.Tier == "" {
		return nil, ErrCustomerNotFound.With("customer %s does not exist", m.Stream.ID)
	}
	switch c := c.(type) {
	case RegisterCustomer:
		switch {
		case u.Tier == "":
			return []events.Customer{events.CustomerRegistered(c)}, nil
		case c == RegisterCustomer{u.Name, u.Email, u.Phone}:
			return nil, nil
		}
		return nil, ErrCustomerExists
	case RenameCustomer:
		if c.Name == u.Name {
			return nil, nil
		}
		return []events.Customer{events.CustomerRenamed(c)}, nil
	case ChangeCustomerTier:
		if c.Tier == u.Tier {
			return nil, nil
		}
		return []events.Customer{events.CustomerTierChanged(c)}, nil
	}
	return nil, unknownCommand(c)
}

// Evolve returns the customer after an event.
func (u Customer) Evolve(e events.Customer) Customer {
	switch e := e.(type) {
	case events.CustomerRegistered:
		return Customer{Name: e.Name, Email: e.Email, Phone: e.Phone, Tier: tierStandard}
	case events.CustomerRenamed:
		u.Name = e.Name
	case events.CustomerTierChanged:
		u.Tier = e.Tier
	}
	return u
}

// Allowed are the commands that the customer would take now.
func (u Customer) Allowed() []CustomerCommand {
	if u.Tier == "" {
		return []CustomerCommand{RegisterCustomer{}}
	}
	return []CustomerCommand{RenameCustomer{}, ChangeCustomerTier{}}
}
