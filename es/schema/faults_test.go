package schema_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
)

func TestDecodeNamesEveryFaultInTheOrderOfTheBody(t *testing.T) {
	t.Parallel()
	const body = `{"method":"cash","items":[{"productId":"","quantity":0,"price":1}],"colour":"red","address":{}}`
	_, err := newCommand(t, "CreateBasket").Decode([]byte(body))
	invalid := &es.InvalidError{}
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range invalid.Faults {
		got = append(got, f.Pointer)
	}
	want := []string{"/method", "/items/0/productId", "/items/0/quantity", "/colour", "/address/street", "/address/country", "/customerId"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if first := invalid.Faults[0]; invalid.Pointer != first.Pointer || invalid.Message != first.Message {
		t.Errorf("the error says %v, its first fault %v", invalid, first)
	}
}

func TestDecodeNamesOneFaultOnceAndNotTooMany(t *testing.T) {
	t.Parallel()
	command := newCommand(t, "CreateBasket")
	invalid := &es.InvalidError{}
	if _, err := command.Decode([]byte(strings.Replace(good, `"paypal"`, `"cash"`, 1))); !errors.As(err, &invalid) || invalid.Faults != nil {
		t.Errorf("one fault: %v, and beside it %v", err, invalid.Faults)
	}
	var items []string
	for i := range 50 {
		items = append(items, fmt.Sprintf(`{"productId":"p-%d","quantity":0,"price":1}`, i))
	}
	body := strings.Replace(good, `[{"productId":"p-1","quantity":2,"price":19.99}]`, "["+strings.Join(items, ",")+"]", 1)
	if _, err := command.Decode([]byte(body)); !errors.As(err, &invalid) || len(invalid.Faults) != 20 || invalid.Faults[19].Pointer != "/items/19/quantity" {
		t.Errorf("fifty faults: %d are named (%v)", len(invalid.Faults), err)
	}
}
