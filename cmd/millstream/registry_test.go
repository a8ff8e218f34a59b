package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/millstream-es/millstream/es/schema"
)

// -update adds new types, versions and optional fields of commands to the golden registry. What breaks is never
// written: someone's log was written with it.
var update = flag.Bool("update", false, "write additions to testdata/registry.json")

const goldenRegistry = "testdata/registry.json"

func TestRegistryIsTheGoldenOne(t *testing.T) {
	t.Parallel()
	r, err := schema.New(domain)
	if err != nil {
		t.Fatal(err)
	}
	golden := schema.Document{}
	text, err := os.ReadFile(goldenRegistry)
	if err == nil {
		golden, err = schema.ParseDocument(text)
	}
	if err != nil && (!*update || !os.IsNotExist(err)) {
		t.Fatal(err)
	}
	differences := schema.Compare(golden, r.Document())
	if err := schema.Breaking(differences); err != nil {
		t.Fatal(err)
	}
	if len(differences) > 0 && !*update {
		t.Fatalf("run go test ./cmd/millstream -run Registry -update: %v", differences)
	}
	if *update {
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(r.Document()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenRegistry, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
