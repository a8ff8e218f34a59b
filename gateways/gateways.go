// Package gateways holds the ways out of the house: an event in, idempotent I/O, commands out. Whatever a gateway asks
// of the other side carries a key that is the same at every attempt, so that asking again does nothing twice.
package gateways

import "github.com/millstream-es/millstream/es"

// All lists every gateway of the domain.
var All = []es.Gateway{
	Payments(),
	Mails(),
}
