package queries

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// FoundOrder is an order that a search found.
type FoundOrder struct {
	OrderID        string        `json:"orderId"`
	OrderNumber    string        `json:"orderNumber"`
	Status         string        `json:"status" jsonschema:"enum=CREATED,enum=PAID,enum=SHIPPED,enum=DELIVERED,enum=CANCELLED"`
	CustomerID     string        `json:"customerId"`
	CustomerName   string        `json:"customerName"` // empty: not registered
	Products       []string      `json:"products"`     // ids, each once
	Address        string        `json:"address"`      // on one line
	TrackingNumber string        `json:"trackingNumber"`
	TotalAmount    money.Decimal `json:"totalAmount"`
	Currency       string        `json:"currency"`
	OrderDate      time.Time     `json:"orderDate"`
	Version        uint64        `json:"version"`
	Revision       es.Revision   `json:"revision"` // of the order's last event
	Score          float64       `json:"score"`    // how well it matches, to compare within one answer
}

// FoundOrders is a page of what a search found, best first.
type FoundOrders struct {
	Items      []FoundOrder `json:"items"`
	NextCursor string       `json:"nextCursor,omitempty"` // absent: this was the last page
}

// SearchParams is what is searched for.
type SearchParams struct {
	Q      string `json:"q" jsonschema:"minLength=1,maxLength=200,example=lovelace springf,description=Words that all must be found; the last one may be a beginning"`
	Cursor string `json:"cursor,omitempty"`
	Limit  int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// OrderSearch finds orders by words of their ids and numbers, customer, products, address and tracking number. It does
// not stand below /orders, since an order may have the id "search".
var OrderSearch = es.Query[SearchParams, FoundOrders]{
	Name:      "orderSearch",
	Path:      "/search/orders",
	Summary:   "Orders in which all words are found: in numbers, customer, products, address or tracking number; best first",
	Projector: "search",
	Ask:       searchOrders,
}

const (
	searchCursor  = "search"
	maxQuery      = 200   // characters
	maxQueryWords = 16    // an absurd number for a person
	maxRanked     = 10000 // matches, the newest, among which the best are looked for
	minPrefix     = 2     // letters and digits: one alone begins too many words
)

// The weights are those of the columns of order_text: ids and numbers say most, an address least.
const selectFound = `SELECT o.order_id, o.order_number, o.status, o.customer_id, o.customer_name, o.products, o.address,
	o.tracking_number, o.total_amount, o.currency, o.order_date, o.version, o.revision, f.score
	FROM (SELECT docid, bm25(matchinfo(order_text, 'pcnalx'), 10.0, 10.0, 5.0, 5.0, 3.0, 1.0, 10.0) score
		FROM order_text WHERE order_text MATCH ? ORDER BY docid DESC LIMIT ?) f
	JOIN orders o ON o.docid = f.docid
	ORDER BY f.score DESC, f.docid DESC LIMIT ? OFFSET ?`

func searchOrders(ctx context.Context, db es.Reader, p SearchParams) (FoundOrders, error) {
	limit, err := pageSize(p.Limit)
	if err != nil {
		return FoundOrders{}, err
	}
	match, err := matchExpression(p.Q)
	if err != nil {
		return FoundOrders{}, err
	}
	skip, err := p.skip()
	if err != nil {
		return FoundOrders{}, err
	}
	found, err := readAll(ctx, db, scanFound, selectFound, match, maxRanked, limit+1, skip)
	if err != nil {
		return FoundOrders{}, err
	}
	items, next := page(found, limit, func(FoundOrder) string { return makeCursor(searchCursor, strconv.Itoa(skip+limit)) })
	return FoundOrders{Items: items, NextCursor: next}, nil
}

// matchExpression turns what a person typed into an expression of FTS4: of the text only letters and digits remain, and
// those stand between quotation marks, where nothing is syntax. What hangs together ("1Z-999", "p-1") must be found
// together. The last word may be a beginning; where it stands whole, it counts twice.
func matchExpression(q string) (string, error) {
	if n := utf8.RuneCountInString(q); n > maxQuery {
		return "", &es.InvalidError{Code: "schema", Message: fmt.Sprintf("q must have at most %d characters, found %d", maxQuery, n), Pointer: "/q"}
	}
	var words []string
	for _, word := range strings.Fields(q) {
		if terms := slices.DeleteFunc(strings.FieldsFunc(word, between), bare); len(terms) > 0 {
			words = append(words, `"`+strings.Join(terms, " ")+`"`)
		}
	}
	switch {
	case len(words) == 0:
		return "", &es.InvalidError{Code: "schema", Message: "q must have a letter or a digit to look for", Pointer: "/q"}
	case len(words) > maxQueryWords:
		return "", &es.InvalidError{Code: "schema", Message: fmt.Sprintf("q must have at most %d words, found %d", maxQueryWords, len(words)), Pointer: "/q"}
	}
	last := words[len(words)-1]
	if utf8.RuneCountInString(last) >= minPrefix+len(`""`) {
		words[len(words)-1] = `(` + last + ` OR ` + strings.TrimSuffix(last, `"`) + `*")`
	}
	return strings.Join(words, " "), nil
}

// between reports whether a character separates terms, as the index sees it. A mark belongs to its letter: é may be
// written as one character or as two.
func between(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) }

// bare reports whether a term is nothing but marks.
func bare(term string) bool {
	return strings.IndexFunc(term, func(r rune) bool { return !unicode.IsMark(r) }) < 0
}

func scanFound(row scanner) (FoundOrder, error) {
	var f FoundOrder
	var total int64
	var products, ordered string
	err := row.Scan(&f.OrderID, &f.OrderNumber, &f.Status, &f.CustomerID, &f.CustomerName, &products, &f.Address,
		&f.TrackingNumber, &total, &f.Currency, &ordered, &f.Version, &f.Revision, &f.Score)
	if err != nil {
		return FoundOrder{}, err
	}
	f.Products = strings.Fields(products)
	if f.TotalAmount, err = amount(total, f.Currency); err != nil {
		return FoundOrder{}, err
	}
	f.OrderDate, err = readTime(ordered)
	return f, err
}
