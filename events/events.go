// Package events holds the facts of the domain, one file a thing. An event's name and version stand on the wire for
// ever: a field that changes its meaning or type is a new version with an upcaster beside the event, and the golden
// JSON in testdata keeps every version readable. Fields tagged pii:"customer" are personal.
package events

import "github.com/millstream-es/millstream/es"

// All lists every event of the domain.
var All = []es.EventDef{
	es.EventOf[OrderCreated](2, orderCreatedFrom1),
	es.EventOf[OrderItemAdded](1),
	es.EventOf[OrderPaid](1),
	es.EventOf[OrderShipped](1),
	es.EventOf[OrderDelivered](1),
	es.EventOf[OrderCancelled](1),

	es.EventOf[StockReceived](1),
	es.EventOf[StockReserved](1),
	es.EventOf[StockReservationRejected](1),
	es.EventOf[StockReleased](1),
	es.EventOf[StockShipped](1),

	es.EventOf[PaymentRequested](1),
	es.EventOf[PaymentProcessed](1),
	es.EventOf[PaymentFailed](1),
	es.EventOf[RefundRequested](1),
	es.EventOf[PaymentRefunded](1),

	es.EventOf[CustomerRegistered](1),
	es.EventOf[CustomerRenamed](1),
	es.EventOf[CustomerTierChanged](1),

	es.EventOf[MailRequested](1),
	es.EventOf[MailSent](1),
	es.EventOf[MailFailed](1),

	es.EventOf[AccountOpened](1),
	es.EventOf[MoneyDeposited](1),
	es.EventOf[MoneyWithdrawn](1),
	es.EventOf[MoneyReturned](1),
	es.EventOf[TransferRefused](1),
	es.EventOf[AccountClosed](1),

	es.EventOf[TransferRequested](1),
	es.EventOf[TransferCompleted](1),
	es.EventOf[TransferFailed](1),
}
