package rest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// addCommands adds POST /{collection}/{id}/{command} for every command of every aggregate.
func (d *Door) addCommands() error {
	for _, a := range d.domain.Aggregates {
		for _, c := range d.schemas.Commands(a.Category()) {
			op, err := d.commandOperation(a, c)
			if err != nil {
				return err
			}
			g := guard{operation: access.CommandSend, target: a.Category()}
			if c.Internal {
				g.operation = access.CommandInternal
			}
			d.register(op, g, d.command(c))
		}
	}
	return nil
}

func (d *Door) command(c *schema.Command) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		request := es.Request{Type: c.Type, Internal: c.Internal} // the guard has asked whether the caller may
		request.Meta.Stream = es.Stream{Category: c.Category, ID: r.PathValue("id")}
		prefers, err := readRequest(w, r, &request)
		if err != nil {
			answerCommand(w, r, runtime.Refusal(request, err), false)
			return
		}
		if id := request.Meta.CommandID; id != "" {
			done, ok := d.inFlight.begin(request.Meta.Stream, id)
			if !ok {
				answerCommand(w, r, inWork(request), false)
				return
			}
			defer done()
		}
		if prefers.queued {
			d.enqueue(w, r, c, request, prefers)
			return
		}
		answerCommand(w, r, d.engine.Execute(r.Context(), request), request.Expected != nil)
	}
}

func inWork(request es.Request) es.Reply {
	return es.Reply{CommandID: request.Meta.CommandID, Outcome: es.Conflict, Stream: request.Meta.Stream.String(), Error: &es.Problem{
		Status: http.StatusConflict, Code: "in_flight", Message: "a command with this Idempotency-Key is being worked on: send it again when that is answered"}}
}

// inFlight are the commands in work at this process's door, by stream and id. Others, and other processes, cannot be
// known: there the same id is decided one after the other, and takes effect once all the same.
type inFlight struct{ commands sync.Map }

// begin reports whether the command is not in work yet, and what to call when it has been answered.
func (f *inFlight) begin(s es.Stream, commandID string) (done func(), ok bool) {
	key := s.String() + "/" + commandID
	_, known := f.commands.LoadOrStore(key, struct{}{})
	return func() { f.commands.Delete(key) }, !known
}

// readRequest fills a command from headers and body. Errors are *es.InvalidError.
func readRequest(w http.ResponseWriter, r *http.Request, to *es.Request) (prefers preferences, err error) {
	m := &to.Meta
	if err := m.Stream.Validate(); err != nil {
		return prefers, err
	}
	if m.CommandID, err = commandID(r.Header); err != nil {
		return prefers, err
	}
	if to.Expected, err = expectedVersion(r.Header); err != nil {
		return prefers, err
	}
	if prefers, err = readPrefer(r.Header); err != nil {
		return prefers, err
	}
	caller, _ := access.From(r.Context())
	m.User = caller.Name
	m.Correlation, m.Causation = r.Header.Get(runtime.HeaderCorrelation), r.Header.Get(runtime.HeaderCausation)
	m.Traceparent = traceOf(r).parent
	to.Data, err = body(w, r)
	return prefers, err
}

// body reads JSON of at most schema.MaxBody bytes; a body that announces more is refused unread.
func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	form, err := checkContent(r.Header)
	if err != nil {
		return nil, err
	}
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
	if text := bytes.TrimSpace(data); form && len(text) > 0 && text[0] != '{' {
		return nil, notJSON("a form")
	}
	return data, nil
}

// checkContent refuses what says that it is no JSON. form: it says to be a form, as curl says of every -d.
func checkContent(h http.Header) (form bool, err error) {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return false, notJSON("encoded as " + coding)
	}
	given, err := single(h, "Content-Type")
	if err != nil || given == "" {
		return false, err
	}
	kind, parameters, err := mime.ParseMediaType(given)
	if charset := parameters["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return false, notJSON(given)
	}
	form = kind == "application/x-www-form-urlencoded"
	if !form && kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return false, notJSON(kind)
	}
	return form, nil
}

func notJSON(found string) error {
	return &es.InvalidError{Code: "unsupported_media_type", Message: fmt.Sprintf("the body is %s: send application/json in UTF-8, not compressed", clip(found))}
}

func malformed(pointer, format string, args ...any) *es.InvalidError {
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

// CommandPath is the route that a command is POSTed to.
func CommandPath(a es.Aggregate, commandType string) string {
	return "/" + a.Collection() + "/{id}/" + kebab(commandType)
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
