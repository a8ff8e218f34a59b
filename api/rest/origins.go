package rest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
)

// origins are the browser pages of elsewhere that may use this door.
type origins struct {
	trusted    []string
	protection *http.CrossOriginProtection
}

func newOrigins(trusted []string) (origins, error) {
	o := origins{trusted, http.NewCrossOriginProtection()}
	var errs []error
	for _, t := range trusted {
		errs = append(errs, o.protection.AddTrustedOrigin(t))
	}
	return o, errors.Join(errs...)
}

// exposed are the headers of answers that a page of elsewhere may read.
var exposed = strings.Join([]string{"ETag", "Link", "Location", "Millstream-Revision", "Preference-Applied", "RateLimit",
	"RateLimit-Policy", "Retry-After", "WWW-Authenticate", headerRequestID}, ", ")

// allow tells a browser that a page of a trusted origin may read the answer; it sends its credentials in a header, since
// cookies are not taken from elsewhere.
func (o origins) allow(w http.ResponseWriter, r *http.Request) {
	if len(o.trusted) == 0 {
		return
	}
	w.Header().Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); slices.Contains(o.trusted, origin) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", exposed)
	}
}

// Local guards what asks nobody who they are, and listens on loopback for that: a page of elsewhere could still reach it
// through a name of its own that leads to this machine, and would be of the same origin.
func Local(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if access.IsLocal(r.Host) {
			h.ServeHTTP(w, r)
			return
		}
		WriteProblem(w, r, &es.Problem{Status: http.StatusMisdirectedRequest, Code: "not_local",
			Message: fmt.Sprintf("this asks nobody who they are, so it answers to localhost and loopback addresses alone, not to %q", clip(r.Host))})
	})
}

// isPreflight reports whether a browser asks before it sends.
func isPreflight(r *http.Request) bool {
	return r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight tells a browser what a page of a trusted origin may send.
func (o origins) preflight(w http.ResponseWriter, r *http.Request, methods string) {
	if w.Header().Get("Access-Control-Allow-Origin") == "" || !isPreflight(r) {
		return
	}
	w.Header().Set("Access-Control-Allow-Methods", methods)
	w.Header().Set("Access-Control-Max-Age", "600")
	w.Header().Set("Access-Control-Allow-Headers", strings.Join([]string{"Authorization", "X-API-Key", "Content-Type", "Idempotency-Key",
		"If-Match", "If-None-Match", "Prefer", "Millstream-Revision", "Correlation-Id", "Causation-Id", "traceparent", headerRequestID}, ", "))
}
