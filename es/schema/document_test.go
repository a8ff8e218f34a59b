package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

func TestDocumentIsWhatIsPromisedAndNoMore(t *testing.T) {
	t.Parallel()
	first, err := json.Marshal(newRegistry(t).Document())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"events":{"BasketFilled":{` +
		`"1":{"additionalProperties":false,"properties":{"count":{"type":"string"}},"required":["count"],"type":"object"},` +
		`"2":{"additionalProperties":false,"properties":{"count":{"type":"integer"}},"required":["count"],"type":"object"}}},` +
		`"commands":{"basket":{`
	if !strings.HasPrefix(string(first), want) {
		t.Errorf("got  %s\nwant %s…", first, want)
	}
	for _, annotation := range []string{`"examples"`, `"$schema"`} {
		if strings.Contains(string(first), annotation) {
			t.Errorf("%s stands in %s", annotation, first)
		}
	}
	var laidOut bytes.Buffer
	if err := json.Indent(&laidOut, first, "", "\t"); err != nil {
		t.Fatal(err)
	}
	again, err := schema.ParseDocument(laidOut.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := schema.Compare(again, newRegistry(t).Document()); diff != nil {
		t.Errorf("its own JSON differs: %v", diff)
	}
	for _, bad := range []string{``, `{}`, `{"events":{},"commands":{},"more":1}`, `{"events":{"A":{"x":{}}},"commands":{}}`, `{"stream":"order/o-1"}`} {
		if _, err := schema.ParseDocument([]byte(bad)); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%s: got %v, want a permanent error", bad, err)
		}
	}
}

func TestAFieldMayBeNamedLikeAKeyword(t *testing.T) {
	t.Parallel()
	const before = `{"type":"object","properties":{"title":{"type":"string","title":"for people"},"required":{"type":"object"}}}`
	got := compareEvents(t, before, `{"type":"object","properties":{"title":{"type":"integer"},"required":{"type":"object"}}}`)
	want := []string{`event E v1: /title type was "string", is now "integer"; raise its version and add an upcaster from the old type`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := compareEvents(t, before, `{"properties":{"title":{"type":"string"},"required":{"type":"object"}},"description":"x","type":"object"}`); got != nil {
		t.Errorf("what is only for people counts: %v", got)
	}
}

func document(t *testing.T, events, commands string) schema.Document {
	t.Helper()
	d, err := schema.ParseDocument([]byte(`{"events":` + events + `,"commands":` + commands + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func compareEvents(t *testing.T, before, now string) []string {
	t.Helper()
	return lines(schema.Compare(document(t, `{"E":{"1":`+before+`}}`, `{}`), document(t, `{"E":{"1":`+now+`}}`, `{}`)))
}

func lines(differences []schema.Difference) []string {
	var all []string
	for _, d := range differences {
		all = append(all, d.String())
	}
	return all
}

func TestWhatIsStoredMustStayKnown(t *testing.T) {
	t.Parallel()
	const one = `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`
	for name, c := range map[string]struct {
		stored, program string
		breaking        bool
		want            string
	}{
		"the same":                {`{"E":{"1":` + one + `}}`, `{"E":{"1":` + one + `}}`, false, ``},
		"a new type":              {`{}`, `{"E":{"1":` + one + `}}`, false, `event E: is new`},
		"a new version":           {`{"E":{"1":` + one + `}}`, `{"E":{"1":` + one + `,"2":true}}`, false, `event E v2: is new`},
		"a type that is gone":     {`{"E":{"1":` + one + `}}`, `{}`, true, `event E: is not known to this program; run the program`},
		"an older program":        {`{"E":{"1":` + one + `,"2":true,"3":true}}`, `{"E":{"1":` + one + `,"2":true}}`, true, `event E v3: is newer than this program, whose newest is v2; run the program`},
		"a new field":             {`{"E":{"1":` + one + `}}`, `{"E":{"1":{"type":"object","properties":{"n":{"type":"integer"},"o":{}},"required":["n"]}}}`, true, `event E v1: /o is new; raise its version`},
		"a field now optional":    {`{"E":{"1":` + one + `}}`, `{"E":{"1":{"type":"object","properties":{"n":{"type":"integer"}}}}}`, true, `event E v1: /n need no longer be there; raise its version`},
		"another type of a field": {`{"E":{"1":` + one + `}}`, `{"E":{"1":{"type":"object","properties":{"n":{"type":"string"}},"required":["n"]}}}`, true, `event E v1: /n type was "integer", is now "string"; raise its version`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := schema.Compare(document(t, c.stored, `{}`), document(t, c.program, `{}`))
			if found := strings.Join(lines(got), "\n"); !strings.HasPrefix(found, c.want) || c.want == "" && found != "" || len(got) > 1 {
				t.Errorf("got  %s\nwant %s…", found, c.want)
			}
			if err := schema.Breaking(got); (err != nil) != c.breaking || err != nil && !errors.Is(err, es.ErrPermanent) {
				t.Errorf("breaking is %v, want %t", err, c.breaking)
			}
		})
	}
}

func TestACommandMayTakeMoreButNotLess(t *testing.T) {
	t.Parallel()
	const before = `{"type":"object","additionalProperties":false,"required":["n"],"properties":{
		"n":{"type":"integer","minimum":1,"maximum":9},"kind":{"enum":["a","b"]},"list":{"type":"array","items":{"type":"string","pattern":"^a"},"minItems":1}}}`
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(before) }
	for name, c := range map[string]struct {
		now      string
		breaking bool
		want     string
	}{
		"an optional field":        {replace(`"kind":{`, `"more":{},"kind":{`), false, `/more is new`},
		"a new required field":     {replace(`["n"]`, `["more","n"]`, `"kind":{`, `"more":{},"kind":{`), true, `/more is new|/more must be there now`},
		"a field made optional":    {replace(`["n"]`, `[]`), false, `/n need no longer be there`},
		"a field made required":    {replace(`["n"]`, `["n","kind"]`), true, `/kind must be there now`},
		"a field taken away":       {replace(`"kind":{"enum":["a","b"]},`, ``), true, `/kind is gone`},
		"a lower minimum":          {replace(`"minimum":1`, `"minimum":0`), false, `/n minimum was 1, is now 0`},
		"a higher minimum":         {replace(`"minimum":1`, `"minimum":2`), true, `/n minimum was 1, is now 2`},
		"a higher maximum":         {replace(`"maximum":9`, `"maximum":10`), false, `/n maximum was 9, is now 10`},
		"a lower maximum":          {replace(`"maximum":9`, `"maximum":8`), true, `/n maximum was 9, is now 8`},
		"no maximum":               {replace(`,"maximum":9`, ``), false, `/n maximum was 9, is gone`},
		"a new bound":              {replace(`"enum"`, `"maxLength":3,"enum"`), true, `/kind maxLength is now 3`},
		"another choice":           {replace(`["a","b"]`, `["b","c","a"]`), false, `/kind enum was ["a","b"], is now ["b","c","a"]`},
		"a choice less":            {replace(`["a","b"]`, `["b"]`), true, `/kind enum was ["a","b"], is now ["b"]`},
		"another pattern in items": {replace(`^a`, `^b`), true, `/list/* pattern was "^a", is now "^b"`},
		"no pattern in items":      {replace(`,"pattern":"^a"`, ``), false, `/list/* pattern was "^a", is gone`},
		"any field":                {replace(`"additionalProperties":false`, `"additionalProperties":true`), false, `/* was false, is now true`},
		"another type":             {replace(`"type":"integer"`, `"type":"number"`), true, `/n type was "integer", is now "number"`},
		"anything":                 {`true`, false, `is now true`},
		"nothing":                  {`false`, true, `is now false`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := schema.Compare(document(t, `{}`, `{"basket":{"C":`+before+`}}`), document(t, `{}`, `{"basket":{"C":`+c.now+`}}`))
			if breaking := schema.Breaking(got) != nil; breaking != c.breaking {
				t.Errorf("breaking is %t, want %t: %v", breaking, c.breaking, lines(got))
			}
			for _, want := range strings.Split(c.want, "|") {
				if !strings.Contains(strings.Join(lines(got), "\n"), want) {
					t.Errorf("%q is missing in %q", want, lines(got))
				}
			}
		})
	}
	gone := schema.Compare(document(t, `{}`, `{"basket":{"C":true}}`), document(t, `{}`, `{}`))
	if err := schema.Breaking(gone); err == nil || !strings.Contains(err.Error(), "command basket/C: is not known to this program") {
		t.Errorf("a command that is gone: %v", err)
	}
}

type basketFilledAside struct {
	Count float64 `json:"count"`
}

func TestUpcastersMustMeet(t *testing.T) {
	t.Parallel()
	_, err := schema.New(es.Domain{Name: "test", Events: []es.EventDef{es.EventOf[basketFilled](2, es.Upcast(1, func(basketFilledV1) (basketFilledAside, error) {
		return basketFilledAside{}, nil
	}))}})
	if err == nil || !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), "event BasketFilled: permanent: version 1 has no path to the newest") {
		t.Errorf("got %v", err)
	}
}
