package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// members are those of RFC 9457.
type members struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
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

func describe(p *es.Problem) members {
	title := strings.ReplaceAll(p.Code, "_", " ")
	if title != "" {
		title = strings.ToUpper(title[:1]) + title[1:]
	}
	return members{Type: "/problems/" + p.Code, Title: title, Status: p.Status, Detail: p.Message}
}

// reply answers a command.
func (d *door) reply(w http.ResponseWriter, r es.Reply) {
	if r.Version > 0 {
		w.Header().Set("ETag", etag(r.Version))
	}
	setRevision(w, r.Revision)
	switch {
	case r.Error != nil:
		d.writeProblem(w, r.Error, commandProblem{r, describe(r.Error)})
	default:
		d.write(w, http.StatusOK, "application/json", r)
	}
}

// fail answers with an error of the engine. The details of a fault go to the log, not to the caller.
func (d *door) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := runtime.Problem(err)
	if p.Status == http.StatusInternalServerError {
		d.opts.Logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	d.refuse(w, p)
}

func (d *door) refuse(w http.ResponseWriter, p *es.Problem) {
	d.writeProblem(w, p, problem{describe(p), p})
}

func (d *door) writeProblem(w http.ResponseWriter, p *es.Problem, body any) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	d.write(w, p.Status, "application/problem+json", body)
}

// write encodes before it sends, so that what has no JSON is a clean 500.
func (d *door) write(w http.ResponseWriter, status int, contentType string, body any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		panic(err) // guarded answers
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	w.Write(b.Bytes()) //nolint:errcheck // the client has gone; nobody is left to tell
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

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
