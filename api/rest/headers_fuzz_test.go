package rest

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
)

// invalid fails unless an error is nil or says what is wrong with the input.
func invalid(t *testing.T, err error) {
	t.Helper()
	var said *es.InvalidError
	if err != nil && (!errors.As(err, &said) || said.Code == "" || said.Message == "") {
		t.Fatalf("%v is no InvalidError that says what is wrong", err)
	}
}

// FuzzCommandHeaders: every header of a command is read or refused clearly.
func FuzzCommandHeaders(f *testing.F) {
	f.Add(`"3"`, "", "respond-async, wait=5", "application/json", "k-1")
	f.Add(`"3.JdDE1hI9MduFp8oP-gzip"`, "", `wait="9"; a=b`, "text/plain; charset=x", "ms-1")
	f.Add("", "*", "wait=-1,wait", "application/x-www-form-urlencoded", "")
	f.Add(`W/"`, `"`, "wait=99999999999", ";", "a.b")
	f.Fuzz(func(t *testing.T, match, none, prefer, content, key string) {
		h := http.Header{"Prefer": {prefer}}
		for name, value := range map[string]string{"If-Match": match, "If-None-Match": none, "Content-Type": content, "Idempotency-Key": key} {
			if value != "" {
				h.Set(name, value)
			}
		}
		version, err := expectedVersion(h)
		invalid(t, err)
		if err == nil && version != nil && none == "" {
			again, err := expectedVersion(http.Header{"If-Match": {`"` + strconv.FormatUint(*version, 10) + `"`}})
			if err != nil || *again != *version {
				t.Fatalf("version %d of %q was not read again: %v", *version, match, err)
			}
		}
		p, err := readPrefer(h)
		invalid(t, err)
		if p.wait != nil && *p.wait < 0 {
			t.Fatalf("%q waits %s", prefer, *p.wait)
		}
		_, err = checkContent(h)
		invalid(t, err)
		id, err := commandID(h)
		invalid(t, err)
		if id != "" && !es.ValidID(id) {
			t.Fatalf("command id %q", id)
		}
	})
}

// FuzzQueryString: every query string is read into the parameters, or refused clearly.
func FuzzQueryString(f *testing.F) {
	type asked struct {
		Name  string    `json:"name,omitempty"`
		Limit int       `json:"limit,omitempty"`
		From  time.Time `json:"from,omitzero"`
		IDs   []string  `json:"ids,omitempty"`
		Exact bool      `json:"exact,omitempty"`
	}
	p, err := newParams(reflect.TypeFor[asked](), reflect.TypeFor[struct{}](), "/things")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"name=a&limit=3&exact=true", "from=2026-01-31T12:00:00+02:00&ids=a&ids=b", "limit=null", "limit=3&limit=4", "name=a", "asOf=7", "asOf=x&minRevision=1", "%zz", "name=%00%ff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		_, err := asOf(raw)
		invalid(t, err)
		query, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		_, err = minRevision(http.Header{}, query)
		invalid(t, err)
		query.Del("minRevision")
		value, err := p.decode(func(string) string { return "" }, query)
		invalid(t, err)
		if _, ok := value.(asked); err == nil && !ok {
			t.Fatalf("%q was read as %T", raw, value)
		}
	})
}
