package rest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// addCommands adds POST /{collection}/{id}/{command} for every command of every aggregate.
func (d *door) addCommands() error {
	for _, a := range d.domain.Aggregates {
		for _, c := range d.engine.Schemas().Commands(a.Category()) {
			op, err := d.commandOperation(a, c)
			if err != nil {
				return err
			}
			d.register(op, d.command(a.Category(), c.Type))
		}
	}
	return nil
}

func (d *door) command(category, commandType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		request := es.Request{Type: commandType}
		request.Meta.Stream = es.Stream{Category: category, ID: r.PathValue("id")}
		if err := d.readRequest(w, r, &request); err != nil {
			d.reply(w, es.Reply{CommandID: request.Meta.CommandID, Outcome: es.Invalid, Stream: request.Meta.Stream.String(), Error: runtime.Problem(err)})
			return
		}
		d.reply(w, d.engine.Execute(r.Context(), request))
	}
}

// readRequest fills a command from headers and body. Errors are *es.InvalidError.
func (d *door) readRequest(w http.ResponseWriter, r *http.Request, to *es.Request) (err error) {
	m := &to.Meta
	if err := m.Stream.Validate(); err != nil {
		return err
	}
	if m.CommandID, err = commandID(r.Header); err != nil {
		return err
	}
	if to.Expected, err = expectedVersion(r.Header); err != nil {
		return err
	}
	m.User = d.opts.Principal(r)
	m.Correlation, m.Causation = r.Header.Get(runtime.HeaderCorrelation), r.Header.Get(runtime.HeaderCausation)
	// A traceparent that does not parse must be ignored and the trace begun anew: W3C Trace Context, 3.2.2.
	if t := r.Header.Get(runtime.HeaderTraceparent); traceparent.MatchString(t) {
		m.Traceparent = t
	}
	to.Data, err = body(w, r)
	return err
}

var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// body reads at most schema.MaxBody bytes; a body that announces more is refused unread.
func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLarge := &es.InvalidError{Code: "too_large", Message: fmt.Sprintf("the body is larger than the %d bytes that are taken", schema.MaxBody)}
	if r.ContentLength > schema.MaxBody {
		w.Header().Set("Connection", "close")
		return nil, tooLarge
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, schema.MaxBody))
	if exceeded := new(http.MaxBytesError); errors.As(err, &exceeded) {
		return nil, tooLarge
	}
	if err != nil {
		return nil, malformed("", "the body ended before it was whole: %v", err)
	}
	return data, nil
}

func malformed(pointer, format string, args ...any) error {
	return &es.InvalidError{Code: "malformed", Message: fmt.Sprintf(format, args...), Pointer: pointer}
}

func badHeader(format string, args ...any) error {
	return &es.InvalidError{Code: "bad_header", Message: fmt.Sprintf(format, args...)}
}

// single returns a header that may be given once; "" when absent.
func single(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) > 1 {
		return "", badHeader("header %s is given %d times: give it once", name, len(values))
	}
	return h.Get(name), nil
}

func commandID(h http.Header) (string, error) {
	id, err := single(h, "Idempotency-Key")
	switch {
	case err != nil || len(h.Values("Idempotency-Key")) == 0:
		return "", err
	case !es.ValidID(id):
		return "", &es.InvalidError{Code: "bad_id", Message: fmt.Sprintf("header Idempotency-Key %q must match [A-Za-z0-9_-]{1,64}", clip(id))}
	case strings.HasPrefix(id, es.EnginePrefix):
		return "", &es.InvalidError{Code: "bad_id", Message: fmt.Sprintf("header Idempotency-Key %q begins with %s, which is the engine's: choose another", clip(id), es.EnginePrefix)}
	}
	return id, nil
}

func expectedVersion(h http.Header) (*uint64, error) {
	tag, err := single(h, "If-Match")
	if err != nil || len(h.Values("If-Match")) == 0 {
		return nil, err
	}
	if digits, ok := strings.CutPrefix(tag, `"`); ok {
		if digits, ok = strings.CutSuffix(digits, `"`); ok {
			if version, err := strconv.ParseUint(digits, 10, 64); err == nil {
				return &version, nil
			}
		}
	}
	return nil, badHeader(`header If-Match %q must be a version in double quotes, like "3"`, clip(tag))
}

// kebab writes a command's name as it stands in URLs: ship-order for ShipOrder.
func kebab(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, c := range letters {
		if unicode.IsUpper(c) && i > 0 && letters[i-1] != '-' {
			ended := !unicode.IsUpper(letters[i-1])
			begins := i+1 < len(letters) && unicode.IsLower(letters[i+1])
			if ended || begins {
				b.WriteByte('-')
			}
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
