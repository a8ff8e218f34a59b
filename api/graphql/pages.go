package graphql

import (
	"context"
	"errors"
	"fmt"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/queries"
)

// Connection is a page of things with the cursors between them, as Relay wants it.
type Connection[N any] struct {
	Edges    []Edge[N]
	PageInfo PageInfo
}

// Edge is a thing on a page.
type Edge[N any] struct {
	Node   N
	Cursor string
}

// PageInfo says where a page lies.
type PageInfo struct {
	HasNextPage     bool
	HasPreviousPage bool
	StartCursor     *string
	EndCursor       *string
}

// The connections of the schema.
type (
	OrderConnection         = Connection[*Order]
	OrderEdge               = Edge[*Order]
	FoundOrderConnection    = Connection[*FoundOrder]
	FoundOrderEdge          = Edge[*FoundOrder]
	CustomerConnection      = Connection[*Customer]
	CustomerEdge            = Edge[*Customer]
	PaymentConnection       = Connection[*Payment]
	PaymentEdge             = Edge[*Payment]
	MailConnection          = Connection[*Mail]
	MailEdge                = Edge[*Mail]
	StockLevelConnection    = Connection[*StockLevel]
	StockLevelEdge          = Edge[*StockLevel]
	InventoryItemConnection = Connection[queries.InventoryItem]
	InventoryItemEdge       = Edge[queries.InventoryItem]
	AccountConnection       = Connection[*Account]
	AccountEdge             = Edge[*Account]
	TransactionConnection   = Connection[queries.Transaction]
	TransactionEdge         = Edge[queries.Transaction]
	DaySalesConnection      = Connection[queries.DaySales]
	DaySalesEdge            = Edge[queries.DaySales]
	MonthReportConnection   = Connection[queries.MonthReport]
	MonthReportEdge         = Edge[queries.MonthReport]
	EventConnection         = Connection[Event]
	EventEdge               = Edge[Event]
)

// connect makes a connection of a page that begins after a cursor. next is the cursor of the page behind it, "" if there
// is none.
func connect[N any](nodes []N, after *string, next string, cursor func(i int, node N) string) Connection[N] {
	c := Connection[N]{Edges: make([]Edge[N], len(nodes))}
	for i, node := range nodes {
		c.Edges[i] = Edge[N]{node, cursor(i, node)}
	}
	c.PageInfo = PageInfo{HasNextPage: next != "", HasPreviousPage: after != nil && *after != ""}
	if len(nodes) > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[len(nodes)-1].Cursor
	}
	return c
}

const maxFirst = 200 // as the queries have it

// askPage is ask for a page of first things.
func askPage[P, A any](ctx context.Context, d *Door, public es.QueryDef, q es.Query[P, A], params P, first int, least es.Revision) (A, error) {
	if first < 1 || first > maxFirst { // in the words of this door
		var none A
		return none, d.refuse(ctx, &es.InvalidError{Code: "schema", Message: fmt.Sprintf("first must be 1 to %d, found %d", maxFirst, first), Pointer: "/first"})
	}
	return ask(ctx, d, public, q, params, least)
}

// blameAfter says in the words of this door that a cursor is none.
func blameAfter(err error) error {
	if invalid, ok := errors.AsType[*es.InvalidError](err); ok && invalid.Pointer == "/cursor" {
		return &es.InvalidError{Code: invalid.Code, Pointer: "/after",
			Message: "not a cursor of this connection: use an edge's cursor or pageInfo.endCursor, as it is"}
	}
	return err
}
