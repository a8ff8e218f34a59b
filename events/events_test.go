package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// -update writes the golden file of each event's newest version. A file that stands already must not change: what it
// holds is in someone's log. Change the type by a new version with an upcaster instead.
var update = flag.Bool("update", false, "write the golden files of the newest versions")

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// samples are the newest versions, with every field set.
var samples = []es.Event{
	events.OrderCreated{
		OrderID:     "o-1",
		OrderNumber: "10248",
		CustomerID:  "c-1",
		Currency:    "USD",
		Items: []events.OrderItem{
			{ProductID: "p-1", Quantity: 2, Price: money.MustParse("19.99"), TotalPrice: money.MustParse("39.98")},
			{ProductID: "p-2", Quantity: 1, Price: money.MustParse("10"), TaxRate: money.MustParse("0.19"), TotalPrice: money.MustParse("11.9")},
		},
		TotalAmount:     money.MustParse("51.88"),
		ShippingAddress: events.Address{Street: "1 Main St", City: "Springfield", State: "IL", ZipCode: "62701", Country: "USA"},
		ShippingMethod:  "standard",
		OrderDate:       noon,
		Payment:         events.OrderPayment{Method: "credit_card", Token: "tok_ok"},
	},
	events.OrderItemAdded{
		Item:        events.OrderItem{ProductID: "p-3", Quantity: 3, Price: money.MustParse("1.5"), TaxRate: money.MustParse("0.07"), TotalPrice: money.MustParse("4.82")},
		TotalAmount: money.MustParse("56.7"),
	},
	events.OrderPaid{PaymentID: "o-1-1", Amount: money.MustParse("56.7"), CustomerID: "c-1", OrderNumber: "10248", Currency: "USD"},
	events.OrderShipped{TrackingNumber: "1Z999", ShippedAt: noon, CustomerID: "c-1", OrderNumber: "10248"},
	events.OrderDelivered{DeliveredAt: noon.Add(36 * time.Hour)},
	events.OrderCancelled{Reason: "changed my mind", CustomerID: "c-1", OrderNumber: "10248"},

	events.StockReceived{Quantity: 100},
	events.StockReserved{OrderID: "o-1", Quantity: 2},
	events.StockReservationRejected{OrderID: "o-2", Quantity: 200, Available: 98},
	events.StockReleased{OrderID: "o-1", Quantity: 2},
	events.StockShipped{OrderID: "o-3", Quantity: 5},

	events.PaymentRequested{OrderID: "o-1", CustomerID: "c-1", Amount: money.MustParse("39.98"), Currency: "USD", Method: "credit_card", Token: "tok_ok"},
	events.PaymentProcessed{PaymentID: "o-1-1", TransactionID: "tx-1", OrderID: "o-1", CustomerID: "c-1", Amount: money.MustParse("39.98"), Currency: "USD"},
	events.PaymentFailed{PaymentID: "o-1-1", OrderID: "o-1", Reason: "card declined"},
	events.RefundRequested{PaymentID: "o-1-1", OrderID: "o-1", Reason: "order cancelled", Amount: money.MustParse("39.98"), Currency: "USD"},
	events.PaymentRefunded{PaymentID: "o-1-1", OrderID: "o-1", CustomerID: "c-1", Amount: money.MustParse("39.98"), Currency: "USD", RefundID: "re-1"},

	events.CustomerRegistered{Name: "Ada Lovelace", Email: "ada@example.com", Phone: "+44 20 7946 0000"},
	events.CustomerRenamed{Name: "Ada King"},
	events.CustomerTierChanged{Tier: "silver"},

	events.MailRequested{Kind: "confirmation", To: "ada@example.com", Name: "Ada Lovelace", CustomerID: "c-1", OrderNumber: "10248",
		Amount: money.MustParse("56.7"), Currency: "USD", TrackingNumber: "1Z999", Reason: "changed my mind"},
	events.MailSent{Kind: "confirmation", MessageID: "4711@example.com"},
	events.MailFailed{Kind: "shipped", Reason: "550 no such user"},

	events.AccountOpened{AccountID: "a-1", Owner: "Ada Lovelace", Currency: "EUR"},
	events.MoneyDeposited{Amount: money.MustParse("100"), Currency: "EUR", Reference: "salary", TransferID: "t-1", Counterparty: "a-2", Balance: money.MustParse("112.5")},
	events.MoneyWithdrawn{Amount: money.MustParse("12.34"), Currency: "EUR", Reference: "rent", TransferID: "t-2", Counterparty: "a-3", Balance: money.MustParse("100.16")},
	events.MoneyReturned{TransferID: "t-2", Amount: money.MustParse("12.34"), Currency: "EUR", Reason: "account a-3 is closed", Balance: money.MustParse("112.5")},
	events.TransferRefused{TransferID: "t-3", Code: "insufficient_funds", Reason: "112.50 EUR is there"},
	events.AccountClosed{Reason: "moved to another bank"},

	events.TransferRequested{From: "a-1", To: "a-2", Amount: money.MustParse("12.34"), Currency: "EUR", Reference: "rent"},
	events.TransferCompleted{},
	events.TransferFailed{Reason: "account a-3 is closed"},
}

func TestEveryEventHasASampleWithEveryFieldSet(t *testing.T) {
	t.Parallel()
	sampled := map[string]bool{}
	for _, e := range samples {
		sampled[e.EventType()] = true
		v := reflect.ValueOf(e)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: the sample's %s is not set", e.EventType(), v.Type().Field(i).Name)
			}
		}
	}
	for _, def := range events.All {
		if !sampled[def.Type] {
			t.Errorf("%s has no sample", def.Type)
		}
	}
}

func TestGoldenFilesOfTheNewestVersions(t *testing.T) { // not parallel: with -update it writes what the others read
	for _, e := range samples {
		def := definition(t, e.EventType())
		path := golden(def.Type, def.Version)
		encoded := encode(t, e)
		if _, err := os.Stat(path); *update && os.IsNotExist(err) {
			if err := os.WriteFile(path, encoded, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		stored, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v: run go test ./events -update", err)
			continue
		}
		if !bytes.Equal(encoded, stored) {
			t.Errorf("%s is now written as\n%sbut %s holds\n%sA stored event never changes: raise the version and add an upcaster", def.Type, encoded, path, stored)
		}
		decoded, err := def.Decode(def.Version, stored)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !reflect.DeepEqual(decoded, e) {
			t.Errorf("%s was read as %+v, want %+v", path, decoded, e)
		}
	}
}

func TestEveryVersionHasAGoldenFileThatDecodes(t *testing.T) {
	t.Parallel()
	wanted := map[string]bool{}
	for _, def := range events.All {
		for version := 1; version <= def.Version; version++ {
			path := golden(def.Type, version)
			wanted[path] = true
			data, err := os.ReadFile(path)
			if err != nil {
				t.Errorf("%s version %d: %v", def.Type, version, err)
				continue
			}
			if _, err := def.Decode(version, data); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	stored, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stored {
		if !wanted[path] {
			t.Errorf("%s is of no event in All, but its facts stay in the log for ever", path)
		}
	}
}

func TestOrderCreatedVersion1IsReadAsVersion2(t *testing.T) {
	t.Parallel()
	stored, err := os.ReadFile(golden("OrderCreated", 1))
	if err != nil {
		t.Fatal(err)
	}
	got, err := definition(t, "OrderCreated").Decode(1, stored)
	if err != nil {
		t.Fatal(err)
	}
	want := events.OrderCreated{
		OrderID:     "o-0",
		OrderNumber: "10001",
		CustomerID:  "c-1",
		Currency:    "USD",
		Items: []events.OrderItem{
			{ProductID: "p-1", Quantity: 2, Price: money.MustParse("19.99"), TotalPrice: money.MustParse("39.98")},
			{ProductID: "p-2", Quantity: 3, Price: money.MustParse("0.335"), TotalPrice: money.FromInt(1)},
		},
		TotalAmount:     money.MustParse("40.98"),
		ShippingAddress: events.Address{Street: "Apt 5, 1 Main St", City: "Springfield", State: "IL", ZipCode: "62701", Country: "USA"},
		ShippingMethod:  "standard",
		OrderDate:       noon,
		Payment:         events.OrderPayment{Method: "credit_card", Token: "tok_ok"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAddressesOfVersion1(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]events.Address{
		"1 Main St, Springfield, IL, 62701, USA":  {Street: "1 Main St", City: "Springfield", State: "IL", ZipCode: "62701", Country: "USA"},
		"10 Downing St, London, , SW1A 2AA, UK":   {Street: "10 Downing St", City: "London", ZipCode: "SW1A 2AA", Country: "UK"},
		"Box 7, Rue 9, Genève, GE, 1204, Schweiz": {Street: "Box 7, Rue 9", City: "Genève", State: "GE", ZipCode: "1204", Country: "Schweiz"},
		"1 Main St, Springfield, USA":             {Street: "1 Main St, Springfield, USA"},
		"":                                        {},
	} {
		old := encode(t, map[string]string{"shippingAddress": text})
		e, err := definition(t, "OrderCreated").Decode(1, old)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := e.(events.OrderCreated).ShippingAddress; got != want {
			t.Errorf("%q was read as %+v, want %+v", text, got, want)
		}
	}
}

// A type with an EventType that is missing in All could be decided, but never stored.
func TestEveryEventTypeOfThePackageIsListed(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, def := range events.All {
		listed[def.Go.Name()] = true
		if def.Type != def.Go.Name() {
			t.Errorf("%s is named %s on the wire", def.Go.Name(), def.Type)
		}
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "EventType" {
				continue
			}
			found++
			if name := fmt.Sprint(f.Recv.List[0].Type); !listed[name] {
				t.Errorf("%s: %s is an event, but does not stand in All", file, name)
			}
		}
	}
	if found != len(events.All) {
		t.Errorf("All lists %d events, the package declares %d", len(events.All), found)
	}
}

// FuzzDecode: whatever stands in the log is read or refused as permanent, and what was read can be written again.
func FuzzDecode(f *testing.F) {
	for i, def := range events.All {
		for version := 1; version <= def.Version; version++ {
			data, err := os.ReadFile(golden(def.Type, version))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(i, version, data)
		}
	}
	f.Fuzz(func(t *testing.T, i, version int, data []byte) {
		if i < 0 || i >= len(events.All) {
			return
		}
		def := events.All[i]
		e, err := def.Decode(version, data)
		if err != nil {
			if !errors.Is(err, es.ErrPermanent) {
				t.Fatalf("refused, but not as permanent: %v", err)
			}
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", e, err)
		}
		if back, err := def.Decode(def.Version, again); err != nil || !cmp.Equal(back, e, cmpopts.EquateEmpty()) {
			t.Fatalf("%s came back as %+v, %v", again, back, err)
		}
	})
}

func golden(eventType string, version int) string {
	return fmt.Sprintf("testdata/%s.v%d.json", eventType, version)
}

func definition(t *testing.T, eventType string) es.EventDef {
	t.Helper()
	for _, def := range events.All {
		if def.Type == eventType {
			return def
		}
	}
	t.Fatalf("event %s does not stand in All", eventType)
	return es.EventDef{}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}
