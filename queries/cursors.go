package queries

import "strconv"

// Cursor names the place behind the order in a list of orders.
func (o Order) Cursor() string {
	return makeCursor(orderCursor, o.OrderDate.UTC().Format(timeLayout), o.OrderID)
}

// Cursor names the place behind the customer in the list of customers.
func (c Customer) Cursor() string { return makeCursor("customer", c.CustomerID) }

// Cursor names the place behind the product in the list of products.
func (s StockLevel) Cursor() string { return makeCursor("stock", s.ProductID) }

// Cursor names the place behind the product in the inventory.
func (i InventoryItem) Cursor() string {
	return makeCursor(inventoryCursor, strconv.FormatInt(i.Available, 10), i.ProductID)
}

// Cursor names the place behind the payment in a list of payments.
func (p Payment) Cursor() string {
	return makeCursor(paymentCursor, p.CreatedAt.UTC().Format(timeLayout), p.PaymentID)
}

// Cursor names the place behind the account in the list of accounts.
func (a Account) Cursor() string { return makeCursor("account", a.AccountID) }

// Cursor names the place behind the movement among those of its account.
func (t Transaction) Cursor() string {
	return makeCursor(transactionCursor, strconv.FormatUint(t.Version, 10))
}

// Cursor names the place behind the mail in a list of mails.
func (m Mail) Cursor() string {
	return makeCursor(mailCursor, m.RequestedAt.UTC().Format(timeLayout), m.OrderID, m.Kind)
}

// Cursor names the place behind the event in the history of an aggregate of a category.
func (e Entry) Cursor(category string) string {
	return makeCursor(historyCursor(category), strconv.FormatUint(e.Version, 10))
}

func historyCursor(category string) string { return category + "History" }

// CursorAt names the place behind the i-th order, counted from 0, of what these parameters found.
func (p SearchParams) CursorAt(i int) string {
	skip, err := p.skip()
	if err != nil { // nothing was found with them
		return ""
	}
	return makeCursor(searchCursor, strconv.Itoa(skip+i+1))
}

// skip is how many of the best matches stand on the pages before.
func (p SearchParams) skip() (int, error) {
	after, err := readCursor(p.Cursor, searchCursor, 1)
	if err != nil || after == nil {
		return 0, err
	}
	// A place, not a score: scores move with every order that is added.
	skip, err := strconv.Atoi(after[0])
	if err != nil || skip < 1 || skip > maxRanked {
		return 0, badCursor()
	}
	return skip, nil
}
