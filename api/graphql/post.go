package graphql

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/millstream-es/millstream/es/schema"
)

const graphqlJSON = "application/graphql-response+json"

// post answers one operation, sent as JSON. Forms and plain text are refused, so that no page of elsewhere can send
// anything without the browser asking first.
func (d *Door) post(w http.ResponseWriter, r *http.Request) {
	params, status, err := readParams(w, r)
	if err != nil {
		d.answer(w, r, status, d.exec.DispatchError(r.Context(), gqlerror.List{err}))
		return
	}
	params.Headers = r.Header
	ctx := graphql.StartOperationTrace(r.Context())
	operation, errs := d.exec.CreateOperationContext(ctx, params)
	ctx = graphql.WithOperationContext(ctx, operation)
	if errs == nil && operation.Operation.Operation == "subscription" {
		errs = gqlerror.List{coded("not_subscribable", "subscriptions come over a WebSocket: connect to this path with subprotocol %s", subprotocol)}
	}
	if errs != nil {
		d.answer(w, r, http.StatusBadRequest, d.exec.DispatchError(ctx, errs))
		return
	}
	respond, ctx := d.exec.DispatchOperation(ctx, operation)
	d.answer(w, r, http.StatusOK, respond(ctx))
}

// readParams reads the operation, or says with what status and why it is none.
func readParams(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, int, *gqlerror.Error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := parameters["charset"]; err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		return nil, http.StatusUnsupportedMediaType, coded("unsupported_media_type", "send Content-Type: application/json, in UTF-8 and not compressed")
	}
	tooLarge := coded("too_large", "the body is larger than the %d bytes that are taken", schema.MaxBody)
	if r.ContentLength > schema.MaxBody {
		w.Header().Set("Connection", "close")
		return nil, http.StatusRequestEntityTooLarge, tooLarge
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, schema.MaxBody))
	if exceeded := new(http.MaxBytesError); errors.As(err, &exceeded) {
		return nil, http.StatusRequestEntityTooLarge, tooLarge
	}
	if err != nil {
		return nil, http.StatusBadRequest, coded("malformed", "the body ended before it was whole")
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return nil, http.StatusBadRequest, coded("batch_not_supported", "the body is an array: send one operation a request")
	}
	if err := schema.Strict(data); err != nil { // which of two equal keys counts is not for us to choose
		return nil, http.StatusBadRequest, coded("malformed", "the body is no JSON object of an operation: %v", err)
	}
	params := &graphql.RawParams{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(params); err != nil {
		return nil, http.StatusBadRequest, coded("malformed", `the body must be a JSON object {"query": "…", "variables": {…}, "operationName": "…"}: %v`, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, http.StatusBadRequest, coded("malformed", "there is more behind the JSON object: send one operation a request")
	}
	if params.Query == "" {
		return nil, http.StatusBadRequest, coded("malformed", "query is missing: send the whole document, none is kept here under a hash")
	}
	return params, http.StatusOK, nil
}

// answer sends a response; a status other than 200 says that nothing was executed.
func (d *Door) answer(w http.ResponseWriter, r *http.Request, status int, response *graphql.Response) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	var body any = response
	if status != http.StatusOK {
		body = struct { // where nothing was executed there are no data, not even null
			Errors gqlerror.List `json:"errors"`
		}{response.Errors}
	}
	if err := encoder.Encode(body); err != nil {
		panic(err) // the door in front of this one answers
	}
	contentType := "application/json"
	if strings.Contains(r.Header.Get("Accept"), graphqlJSON) {
		contentType = graphqlJSON
	}
	w.Header().Set("Content-Type", contentType+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes()) //nolint:errcheck // the client has gone; nobody is left to tell
}
