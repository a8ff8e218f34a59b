package events

import "github.com/millstream-es/millstream/es"

// Customer is an event of one customer. The customer's id is the stream's.
//
//sumtype:decl
type Customer interface {
	es.Event
	customer()
}

// CustomerRegistered: a customer is known, in the tier "standard".
type CustomerRegistered struct {
	Name  string `json:"name" pii:"customer"`
	Email string `json:"email,omitempty" pii:"customer"`
	Phone string `json:"phone,omitempty" pii:"customer"`
}

// CustomerRenamed: the customer has another name.
type CustomerRenamed struct {
	Name string `json:"name" pii:"customer"`
}

// CustomerTierChanged: the customer moved up or down.
type CustomerTierChanged struct {
	Tier string `json:"tier"` // standard, silver, gold or platinum
}

// The names on the wire. They never change.

func (CustomerRegistered) EventType() string  { return "CustomerRegistered" }
func (CustomerRenamed) EventType() string     { return "CustomerRenamed" }
func (CustomerTierChanged) EventType() string { return "CustomerTierChanged" }

func (CustomerRegistered) customer()  {}
func (CustomerRenamed) customer()     {}
func (CustomerTierChanged) customer() {}
