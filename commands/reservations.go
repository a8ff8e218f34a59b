package commands

// Reservation is what one order has to do with a product's stock; the zero value is nothing.
type Reservation struct {
	Status   string `json:"status"` // RESERVED, RELEASED, SHIPPED
	Quantity int64  `json:"quantity"`
}

// The statuses of a reservation.
const (
	stockReserved = "RESERVED"
	stockReleased = "RELEASED"
	stockShipped  = "SHIPPED"
)

// Reservations maps order ids to reservations.
type Reservations = IDMap[Reservation]

// JSONSchema describes the JSON form.
func (Reservation) JSONSchema() string {
	return `{"type":"object","required":["status","quantity"],` +
		`"properties":{"status":{"enum":["RESERVED","RELEASED","SHIPPED"]},"quantity":{"type":"integer"}}}`
}
