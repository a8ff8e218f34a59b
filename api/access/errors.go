package access

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/millstream-es/millstream/es"
)

// Codes of refusals, at every door.
const (
	CodeUnauthenticated = "unauthenticated"
	CodeDenied          = "denied"
)

// ErrNoCredentials is what an Authenticator returns when the request carries none of the kind it knows.
var ErrNoCredentials error = &UnauthenticatedError{Reason: "the request does not say who is calling"}

// UnauthenticatedError is a caller who has not proved who they are: 401.
type UnauthenticatedError struct {
	Reason  string // for the caller; holds nothing of the credentials
	Invalid bool   // credentials were sent, and are not good
}

func (e *UnauthenticatedError) Error() string {
	return e.Reason + "; send Authorization: Bearer with an API key or a JWT, or X-API-Key"
}

// Problem is the error as every door answers it.
func (e *UnauthenticatedError) Problem() *es.Problem {
	return &es.Problem{Code: CodeUnauthenticated, Message: e.Error(), Status: http.StatusUnauthorized}
}

// Challenge is the value of WWW-Authenticate (RFC 6750).
func (e *UnauthenticatedError) Challenge() string {
	if e.Invalid {
		return `Bearer realm="millstream", error="invalid_token"`
	}
	return `Bearer realm="millstream"`
}

// DeniedError is a known caller who may not: 403.
type DeniedError struct {
	Principal Principal
	Operation Operation
	Target    string
	Need      Role // "": the operation has no rule
}

func (e *DeniedError) Error() string {
	what := string(e.Operation)
	if e.Target != "" {
		what += " of " + e.Target
	}
	switch {
	case e.Need == "":
		return fmt.Sprintf("%s is allowed to nobody: it has no rule", what)
	case !e.Principal.Role.Includes(e.Need):
		return fmt.Sprintf("%s needs role %s: %s has role %s", what, e.Need, e.Principal.Name, orNone(string(e.Principal.Role)))
	default:
		return fmt.Sprintf("%s is not among the scopes of %s: %s", what, e.Principal.Name, strings.Join(e.Principal.Scopes, ", "))
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Problem is the error as every door answers it.
func (e *DeniedError) Problem() *es.Problem {
	return &es.Problem{Code: CodeDenied, Message: e.Error(), Status: http.StatusForbidden}
}

func invalid(format string, args ...any) error {
	return &UnauthenticatedError{Reason: fmt.Sprintf(format, args...), Invalid: true}
}
