package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// members are those of RFC 9457 and its extensions here.
type members struct {
	Type    string     `json:"type"`
	Title   string     `json:"title"`
	Status  int        `json:"status"`
	Detail  string     `json:"detail"`
	TraceID string     `json:"traceId"`
	Errors  []es.Fault `json:"errors,omitempty"` // all that is to blame, when that is more than one
}

// problem is the body of every error but a command's.
type problem struct {
	members
	Error *es.Problem `json:"error"`
}

// commandProblem is a command's reply and an RFC 9457 problem in one object.
type commandProblem struct {
	es.Reply
	members
}

// membersOf describes a problem; the status is the HTTP answer's.
func membersOf(p *es.Problem, r *http.Request) members {
	title := strings.ReplaceAll(p.Code, "_", " ")
	if title != "" {
		title = strings.ToUpper(title[:1]) + title[1:]
	}
	return members{Type: "/problems/" + p.Code, Title: title, Status: p.Status, Detail: p.Message, TraceID: traceOf(r).id, Errors: p.Errors}
}

// withoutErrors leaves to the members what they say already.
func withoutErrors(p *es.Problem) *es.Problem {
	short := *p
	short.Errors = nil
	return &short
}

// answerCommand sends its reply. conditional says that it named a version in If-Match, so that a conflict is that
// condition's failure.
func answerCommand(w http.ResponseWriter, r *http.Request, reply es.Reply, conditional bool) {
	if reply.Version > 0 {
		w.Header().Set("ETag", versionTag(reply.Version))
	}
	setRevision(w, reply.Revision)
	if reply.Error == nil {
		WriteJSON(w, http.StatusOK, reply)
		return
	}
	if conditional && reply.Outcome == es.Conflict {
		reply.Error.Status = http.StatusPreconditionFailed
	}
	body := commandProblem{reply, membersOf(reply.Error, r)}
	body.Error = withoutErrors(reply.Error)
	writeProblem(w, reply.Error.Status, body)
}

// The answers of doors that are mounted in this one look like its own.

// WriteJSON answers with a body as JSON. A body that has none is a fault of the program: it panics, which the Door
// answers with a clean 500.
func WriteJSON(w http.ResponseWriter, status int, body any) {
	write(w, status, "application/json", encode(body))
}

// WriteProblem answers with a problem, as application/problem+json.
func WriteProblem(w http.ResponseWriter, r *http.Request, p *es.Problem) {
	writeProblem(w, p.Status, problem{membersOf(p, r), withoutErrors(p)})
}

// WriteError answers with an error of the engine or of access, as a problem. The details of a fault go to the Door's log,
// not to the caller.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	var unauthenticated *access.UnauthenticatedError
	var denied *access.DeniedError
	switch {
	case errors.As(err, &unauthenticated):
		w.Header().Set("WWW-Authenticate", unauthenticated.Challenge())
		WriteProblem(w, r, unauthenticated.Problem())
	case errors.As(err, &denied):
		WriteProblem(w, r, denied.Problem())
	default:
		p := runtime.Problem(err)
		if p.Status == http.StatusInternalServerError {
			traceOf(r).fault(r, "request failed", "error", err)
		}
		WriteProblem(w, r, p)
	}
}

func writeProblem(w http.ResponseWriter, status int, body any) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Cache-Control", "no-store")
	write(w, status, "application/problem+json", encode(body))
}

// encode panics at what has no JSON, before anything is sent: ServeHTTP answers.
func encode(body any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client has gone; nobody is left to tell
}

func setRevision(w http.ResponseWriter, r es.Revision) {
	if r > 0 {
		w.Header().Set("Millstream-Revision", strconv.FormatUint(uint64(r), 10))
	}
}

// clip keeps messages short whatever the input.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
