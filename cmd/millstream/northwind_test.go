package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/money"
)

// TestNorthwind imports the Northwind sample: every order is paid by the saga, the read models know the sample's
// figures, and importing again changes nothing.
func TestNorthwind(t *testing.T) {
	t.Parallel()
	source := northwind(t)
	// Read, so that a cached test result does not outlive a change of the converter.
	converter, err := filepath.Glob("../../tools/northwind/*.go")
	if err != nil || len(converter) == 0 {
		t.Fatalf("tools/northwind is not there: %v", err)
	}
	for _, name := range converter {
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	lines, complaints, code := run(t, "go", "run", "-C", "../../tools", "./northwind", source)
	if code != 0 {
		t.Fatalf("tools/northwind: exit code %d: %s", code, complaints)
	}
	file := filepath.Join(t.TempDir(), "northwind.jsonl")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	p := dev(t, t.TempDir())

	const summary = "998 lines in "
	out, complaints, code := run(t, "millstream", "import", file, "--server", p.NATS)
	if code != 0 || !strings.HasPrefix(out, summary) || !strings.Contains(out, ": 998 accepted, 0 unchanged, 0 rejected, 0 invalid, 0 unknown, 0 failed\n") {
		t.Fatalf("import: exit code %d, %s%s", code, out, complaints)
	}
	nc := connect(t, p.NATS)
	err = eventually(patience, func() error {
		return errors.Join(figures(p), sagasEnded(t.Context(), nc))
	})
	if err != nil {
		t.Fatal(err)
	}

	before := readLog(t, nc)
	out, complaints, code = run(t, "millstream", "import", file, "--server", p.NATS)
	if code != 0 || !strings.HasPrefix(out, summary) {
		t.Fatalf("second import: exit code %d, %s%s", code, out, complaints)
	}
	if err := sagasEnded(t.Context(), nc); err != nil {
		t.Error(err)
	}
	after := readLog(t, nc)
	if len(after) != len(before) {
		t.Errorf("the second import added %d events", len(after)-len(before))
	}
	checkLog(t, after, &accepted{})
	if err := eventually(patience, func() error { return caughtUp(p, after[len(after)-1].Revision) }); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	checkReadModels(t, p.Data, after)
}

// figures asks the read models, page by page, and compares with what is known of the sample.
func figures(p *process) error {
	got := map[string]int64{}
	total := money.Decimal{}
	err := eachPage(p.HTTP+"/orders", func(o order) error {
		got["orders"]++
		got[o.Status]++
		for _, i := range o.Items {
			got["lines"]++
			got["units"] += i.Quantity
		}
		total = total.Add(o.TotalAmount)
		return nil
	})
	if err != nil {
		return err
	}
	err = eachPage(p.HTTP+"/customers", func(c struct{ TotalOrders int64 }) error {
		got["customers"]++
		if c.TotalOrders > 0 {
			got["customers with orders"]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	for what, want := range map[string]int64{
		"orders": 830, "PAID": 830, "lines": 2155, "units": 51317, "customers": 91, "customers with orders": 89,
	} {
		if got[what] != want {
			errs = append(errs, fmt.Errorf("%s: got %d, want %d", what, got[what], want))
		}
	}
	if total != money.MustParse("1354458.59") {
		errs = append(errs, fmt.Errorf("total: got %s, want 1354458.59", total))
	}
	return errors.Join(errs...)
}

type order struct {
	OrderID     string
	Status      string
	TotalAmount money.Decimal
	Items       []struct{ Quantity int64 }
}

func eachPage[T any](address string, f func(T) error) error {
	for cursor := ""; ; {
		var page struct {
			Items      []T
			NextCursor string
		}
		if err := getJSON(address+"?limit=100&cursor="+url.QueryEscape(cursor), &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if err := f(item); err != nil {
				return err
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return nil
		}
	}
}
