package schema_test

import (
	"testing"

	"github.com/millstream-es/millstream/es/schema"
)

func TestDecodingGivesTheRequestHash(t *testing.T) {
	t.Parallel()
	for _, a := range newRegistry(t).Aggregates() {
		for _, c := range newRegistry(t).Commands(a.Category()) {
			spaced := append([]byte(" \n"), c.Example...)
			command, hash, err := c.DecodeHashed(spaced)
			if err != nil || command == nil {
				t.Fatalf("%s: %v", c.Type, err)
			}
			if want := schema.RequestHash(c.Type, c.Example); hash != want {
				t.Errorf("%s: got %s, want %s", c.Type, hash, want)
			}
		}
	}
	for _, broken := range []string{`{"a":`, `{"nobody":1}`} {
		c := newRegistry(t).Commands(newRegistry(t).Aggregates()[0].Category())[0]
		if command, hash, err := c.DecodeHashed([]byte(broken)); err == nil || hash != "" || command != nil {
			t.Errorf("%s: got %v, %q, %v", broken, command, hash, err)
		}
	}
}
