// Command northwind turns the Northwind sample (CSV) into a file for `millstream import`:
//
//	go run -C tools ./northwind CSVDIR > northwind.jsonl
//
// CSVDIR holds customers.csv, products.csv and orders.csv; with -C it is read as seen from tools/. Every line has an
// id of its own that is the same in every run, so that importing the file again changes nothing.
package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: northwind CSVDIR")
		os.Exit(2)
	}
	if err := convert(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "northwind:", err)
		os.Exit(1)
	}
}

// line is one command, as `millstream import` reads it.
type line struct {
	Stream string `json:"stream,omitempty"`
	Type   string `json:"type,omitempty"`
	ID     string `json:"id,omitempty"`
	Data   any    `json:"data,omitempty"`
	Wait   bool   `json:"wait,omitempty"`
}

type customer struct {
	Name  string `json:"name"`
	Phone string `json:"phone,omitempty"`
}

type receipt struct {
	Quantity int `json:"quantity"`
}

type order struct {
	CustomerID      string  `json:"customerId"`
	OrderNumber     string  `json:"orderNumber"`
	Currency        string  `json:"currency"`
	Items           []item  `json:"items"`
	ShippingAddress address `json:"shippingAddress"`
	OrderDate       string  `json:"orderDate"`
	Payment         payment `json:"payment"`
}

type item struct {
	ProductID string      `json:"productId"`
	Quantity  int         `json:"quantity"`
	Price     json.Number `json:"price"`
}

type address struct {
	Street  string `json:"street"`
	City    string `json:"city"`
	State   string `json:"state,omitempty"`
	ZipCode string `json:"zipCode,omitempty"`
	Country string `json:"country"`
}

type payment struct {
	Method string `json:"method"`
	Token  string `json:"token"`
}

// convert writes customers, then the stock that all orders need, then the orders.
func convert(dir string, w io.Writer) error {
	customers, err := read(dir, "customers.csv")
	if err != nil {
		return err
	}
	products, err := read(dir, "products.csv")
	if err != nil {
		return err
	}
	lines, err := read(dir, "orders.csv")
	if err != nil {
		return err
	}
	orders, ordered, err := group(lines)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	var errs []error
	write := func(l line) { errs = append(errs, e.Encode(l)) }
	for _, c := range customers {
		id := c["CustomerID"]
		write(line{"customer/" + id, "RegisterCustomer", "northwind-customer-" + id, customer{c["CompanyName"], c["Phone"]}, false})
	}
	for _, p := range products {
		id := p["ProductID"]
		inStock, err := strconv.Atoi(p["UnitsInStock"])
		if err != nil {
			return fmt.Errorf("products.csv: product %s: UnitsInStock: %w", id, err)
		}
		if units := max(inStock, ordered[id]); units > 0 {
			write(line{"stock/p-" + id, "ReceiveStock", "northwind-stock-" + id, receipt{units}, false})
		}
	}
	write(line{Wait: true}) // orders reserve stock as soon as they are there
	for _, o := range orders {
		write(line{"order/n-" + o.OrderNumber, "CreateOrder", "northwind-order-" + o.OrderNumber, o, false})
	}
	return errors.Join(append(errs, out.Flush())...)
}

var number = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// group gathers the lines of each order, in the file's order, and counts the units ordered of each product.
func group(lines []map[string]string) (orders []*order, units map[string]int, err error) {
	byID, units := map[string]*order{}, map[string]int{}
	for _, l := range lines {
		id := l["OrderID"]
		o := byID[id]
		if o == nil {
			o = &order{
				CustomerID: l["CustomerID"], OrderNumber: id, Currency: "USD", OrderDate: l["OrderDate"] + "T00:00:00Z",
				ShippingAddress: address{l["ShipAddress"], l["ShipCity"], l["ShipRegion"], l["ShipPostalCode"], l["ShipCountry"]},
				Payment:         payment{"credit_card", "tok_ok"},
			}
			byID[id] = o
			orders = append(orders, o)
		}
		quantity, err := strconv.Atoi(l["Quantity"])
		if err != nil {
			return nil, nil, fmt.Errorf("orders.csv: order %s: Quantity: %w", id, err)
		}
		if !number.MatchString(l["UnitPrice"]) {
			return nil, nil, fmt.Errorf("orders.csv: order %s: UnitPrice %q is no number", id, l["UnitPrice"])
		}
		o.Items = append(o.Items, item{"p-" + l["ProductID"], quantity, json.Number(l["UnitPrice"])})
		units[l["ProductID"]] += quantity
	}
	return orders, units, nil
}

// read returns a file's rows by column name; of columns with the same name the first counts.
func read(dir, name string) ([]map[string]string, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	var all []map[string]string
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, column := range rows[0] {
			if _, known := m[column]; !known {
				m[column] = row[i]
			}
		}
		all = append(all, m)
	}
	return all, nil
}
