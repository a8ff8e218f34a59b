package queries

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/millstream-es/millstream/es"
)

// StockLevel is what there is of one product.
type StockLevel struct {
	ProductID string      `json:"productId"`
	OnHand    int64       `json:"onHand"`
	Reserved  int64       `json:"reserved"`  // held for orders, part of onHand
	Available int64       `json:"available"` // onHand minus reserved
	UpdatedAt time.Time   `json:"updatedAt"`
	Version   uint64      `json:"version"`
	Revision  es.Revision `json:"revision"` // of the product's last event
}

// StreamVersion makes the stock's version its ETag.
func (s StockLevel) StreamVersion() uint64 { return s.Version }

// StockLevels is a page of products, by id.
type StockLevels struct {
	Items      []StockLevel `json:"items"`
	NextCursor string       `json:"nextCursor,omitempty"` // absent: this was the last page
}

// StockByProductParams names one product.
type StockByProductParams struct {
	ProductID string `json:"productId"`
}

// ErrStockNotFound: nothing was ever received of the product, or the read model does not show it yet.
var ErrStockNotFound = es.NotFound("stock_not_found", "no stock of this product is known")

// StockByProduct is the stock of one product.
var StockByProduct = es.Query[StockByProductParams, StockLevel]{
	Name:      "stock",
	Path:      "/stock/{productId}",
	Summary:   "The stock of one product",
	Projector: "stock",
	Ask: func(ctx context.Context, db es.Reader, p StockByProductParams) (StockLevel, error) {
		if err := checkID(p.ProductID, "productId"); err != nil {
			return StockLevel{}, err
		}
		level, err := scanStock(db.QueryRowContext(ctx, selectStock+` WHERE product_id = ?`, p.ProductID))
		if errors.Is(err, sql.ErrNoRows) {
			return StockLevel{}, ErrStockNotFound.With("no stock of product %q is known", p.ProductID)
		}
		return level, err
	},
}

// StockList is the stock of all products, by id.
var StockList = es.Query[ListParams, StockLevels]{
	Name:      "stockLevels",
	Path:      "/stock",
	Summary:   "The stock of all products, by id",
	Projector: "stock",
	Ask: func(ctx context.Context, db es.Reader, p ListParams) (StockLevels, error) {
		items, next, err := listByID(ctx, db, p, "stock", selectStock+` WHERE product_id > ? ORDER BY product_id LIMIT ?`,
			scanStock, StockLevel.Cursor)
		return StockLevels{Items: items, NextCursor: next}, err
	},
}

const selectStock = `SELECT product_id, on_hand, reserved, updated_at, version, revision FROM stock`

func scanStock(row scanner) (StockLevel, error) {
	var s StockLevel
	var updated string
	err := row.Scan(&s.ProductID, &s.OnHand, &s.Reserved, &updated, &s.Version, &s.Revision)
	if err != nil {
		return StockLevel{}, err
	}
	s.Available = s.OnHand - s.Reserved
	s.UpdatedAt, err = readTime(updated)
	return s, err
}
