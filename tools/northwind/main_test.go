package main

import (
	"bytes"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	customersCSV = "CustomerID,CompanyName,Phone\nALFKI,\"Alfreds, Futterkiste\",030\n"
	productsCSV  = "ProductID,UnitsInStock\n11,5\n42,90\n7,0\n"
	ordersCSV    = "OrderID,CustomerID,OrderDate,ShipAddress,ShipCity,ShipRegion,ShipPostalCode,ShipCountry,OrderID,ProductID,UnitPrice,Quantity\n" +
		"1,ALFKI,1996-07-04,Street 1,Reims,,51100,France,1,11,14.5,12\n" +
		"2,ALFKI,1996-07-05,Street 1,Reims,RJ,,France,2,42,9,1\n" +
		"1,ALFKI,1996-07-04,Street 1,Reims,,51100,France,1,42,9.8,10\n"
)

func TestEachOrderGathersItsLinesAndStockSuffices(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"customers.csv": customersCSV, "products.csv": productsCSV, "orders.csv": ordersCSV} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := convert(dir, &out); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`{"stream":"customer/ALFKI","type":"RegisterCustomer","id":"northwind-customer-ALFKI","data":{"name":"Alfreds, Futterkiste","phone":"030"}}`,
		`{"stream":"stock/p-11","type":"ReceiveStock","id":"northwind-stock-11","data":{"quantity":12}}`,
		`{"stream":"stock/p-42","type":"ReceiveStock","id":"northwind-stock-42","data":{"quantity":90}}`,
		`{"wait":true}`,
		`{"stream":"order/n-1","type":"CreateOrder","id":"northwind-order-1","data":{"customerId":"ALFKI","orderNumber":"1","currency":"USD",` +
			`"items":[{"productId":"p-11","quantity":12,"price":14.5},{"productId":"p-42","quantity":10,"price":9.8}],` +
			`"shippingAddress":{"street":"Street 1","city":"Reims","zipCode":"51100","country":"France"},` +
			`"orderDate":"1996-07-04T00:00:00Z","payment":{"method":"credit_card","token":"tok_ok"}}}`,
		`{"stream":"order/n-2","type":"CreateOrder","id":"northwind-order-2","data":{"customerId":"ALFKI","orderNumber":"2","currency":"USD",` +
			`"items":[{"productId":"p-42","quantity":1,"price":9}],` +
			`"shippingAddress":{"street":"Street 1","city":"Reims","state":"RJ","country":"France"},` +
			`"orderDate":"1996-07-05T00:00:00Z","payment":{"method":"credit_card","token":"tok_ok"}}}`,
	}, "\n") + "\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheWholeSampleHasItsKnownFigures(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("MILLSTREAM_NORTHWIND")
	if dir == "" {
		dir = "../../../shared/northwind"
	}
	if _, err := os.Stat(filepath.Join(dir, "orders.csv")); err != nil {
		t.Skipf("no Northwind files in %s: set MILLSTREAM_NORTHWIND to their folder", dir)
	}
	var out bytes.Buffer
	if err := convert(dir, &out); err != nil {
		t.Fatal(err)
	}
	orders, lines, units, total := 0, 0, 0, new(big.Rat)
	for text := range strings.Lines(out.String()) {
		var l struct {
			Type string
			Data order
		}
		if !strings.Contains(text, `"CreateOrder"`) {
			continue
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		orders++
		lines += len(l.Data.Items)
		for _, i := range l.Data.Items {
			price, ok := new(big.Rat).SetString(i.Price.String())
			if !ok {
				t.Fatalf("price %s", i.Price)
			}
			units += i.Quantity
			total.Add(total, price.Mul(price, new(big.Rat).SetInt64(int64(i.Quantity))))
		}
	}
	if orders != 830 || lines != 2155 || units != 51317 || total.FloatString(2) != "1354458.59" {
		t.Errorf("got %d orders, %d lines, %d units, %s; want 830, 2155, 51317, 1354458.59", orders, lines, units, total.FloatString(2))
	}
}
