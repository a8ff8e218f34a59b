package queries

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/millstream-es/millstream/es"
)

// InventoryItem is what there is of one product, what came and went, and what to order of it.
type InventoryItem struct {
	ProductID string      `json:"productId"`
	OnHand    int64       `json:"onHand"`
	Reserved  int64       `json:"reserved"`  // held for orders, part of onHand
	Available int64       `json:"available"` // onHand minus reserved
	Received  int64       `json:"received"`  // ever
	Shipped   int64       `json:"shipped"`   // ever: units sold that left the house
	Missed    int64       `json:"missed"`    // units that orders wanted and did not get since units last came in
	Reorder   int64       `json:"reorder"`   // units that would bring available up to below; 0 when below is not given
	UpdatedAt time.Time   `json:"updatedAt"`
	Version   uint64      `json:"version"`
	Revision  es.Revision `json:"revision"` // of the product's last event
}

// Inventory is a page of products, those with the fewest units available first.
type Inventory struct {
	Items      []InventoryItem `json:"items"`
	NextCursor string          `json:"nextCursor,omitempty"` // absent: this was the last page
}

// InventoryParams narrows the inventory.
type InventoryParams struct {
	Below  int64  `json:"below,omitempty" jsonschema:"minimum=1,description=Only products of which fewer units than this are available"`
	Cursor string `json:"cursor,omitempty"`
	Limit  int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// InventoryStatus is the stock of all products, the scarcest first. A product whose stock changes between two pages
// may stand on both or on neither.
var InventoryStatus = es.Query[InventoryParams, Inventory]{
	Name:      "inventory",
	Path:      "/inventory",
	Summary:   "Products with the fewest units available first, and what to order of them",
	Projector: "stock",
	Ask:       askInventory,
}

const inventoryCursor = "inventory"

func askInventory(ctx context.Context, db es.Reader, p InventoryParams) (Inventory, error) {
	limit, err := pageSize(p.Limit)
	if err != nil {
		return Inventory{}, err
	}
	if p.Below < 0 {
		return Inventory{}, &es.InvalidError{Code: "schema", Message: fmt.Sprintf("below must be 1 or more, found %d", p.Below), Pointer: "/below"}
	}
	after, err := readCursor(p.Cursor, inventoryCursor, 2)
	if err != nil {
		return Inventory{}, err
	}
	// The terms are always there, so that both bounds run along the index.
	below, available, product := int64(maxAvailable), int64(minAvailable), ""
	if p.Below > 0 {
		below = p.Below
	}
	if after != nil {
		if available, err = strconv.ParseInt(after[0], 10, 64); err != nil || !es.ValidID(after[1]) {
			return Inventory{}, badCursor()
		}
		product = after[1]
	}
	found, err := readAll(ctx, db, scanInventory, `SELECT product_id, on_hand, reserved, received, shipped, missed, updated_at, version, revision
		FROM stock WHERE on_hand - reserved < ? AND (on_hand - reserved, product_id) > (?, ?)
		ORDER BY on_hand - reserved, product_id LIMIT ?`, below, available, product, limit+1)
	if err != nil {
		return Inventory{}, err
	}
	items, next := page(found, limit, InventoryItem.Cursor)
	for i := range items {
		items[i].Reorder = max(0, p.Below-items[i].Available)
	}
	return Inventory{Items: items, NextCursor: next}, nil
}

// Beyond what any stock can hold.
const (
	minAvailable = -1 << 62
	maxAvailable = 1 << 62
)

func scanInventory(row scanner) (InventoryItem, error) {
	var i InventoryItem
	var updated string
	err := row.Scan(&i.ProductID, &i.OnHand, &i.Reserved, &i.Received, &i.Shipped, &i.Missed, &updated, &i.Version, &i.Revision)
	if err != nil {
		return InventoryItem{}, err
	}
	i.Available = i.OnHand - i.Reserved
	i.UpdatedAt, err = readTime(updated)
	return i, err
}
