package access

import (
	"net/http"
	"strings"
)

// maxToken bounds credentials, in bytes.
const maxToken = 8 << 10

// WebSocket pages cannot set headers, so they offer their token as a subprotocol: `millstream.v1, bearer.<token>`.
const (
	headerProtocols = "Sec-WebSocket-Protocol"
	bearerProtocol  = "bearer."
)

// token returns the one token that a request carries: in Authorization, in X-API-Key or among the subprotocols of a
// WebSocket. ErrNoCredentials: none; *UnauthenticatedError: several, or what cannot be one.
func token(r *http.Request) (string, error) {
	var found []string
	for _, value := range r.Header.Values("Authorization") {
		t, err := parseAuthorization(value)
		if err != nil {
			return "", err
		}
		found = append(found, t)
	}
	found = append(found, r.Header.Values("X-API-Key")...)
	if t, ok := offered(r.Header); ok {
		found = append(found, t)
	}
	switch {
	case len(found) == 0:
		return "", ErrNoCredentials
	case len(found) > 1:
		return "", invalid("the request carries %d credentials: one is expected", len(found))
	}
	return found[0], checkToken(found[0])
}

// parseAuthorization reads `Bearer <token>` (RFC 6750).
func parseAuthorization(value string) (string, error) {
	scheme, t, _ := strings.Cut(strings.TrimSpace(value), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", invalid("Authorization is not of the scheme Bearer")
	}
	t = strings.TrimLeft(t, " ")
	return t, checkToken(t)
}

// checkToken refuses what is no token68 (RFC 9110).
func checkToken(t string) error {
	if t == "" {
		return invalid("the token is empty")
	}
	if len(t) > maxToken {
		return invalid("the token has %d bytes, at most %d are taken", len(t), maxToken)
	}
	for i := range len(t) {
		switch c := t[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~+/=", c) >= 0:
		default:
			return invalid("the token holds a character that no token has, at byte %d", i+1)
		}
	}
	return nil
}

// offered is the token among a WebSocket's subprotocols.
func offered(h http.Header) (t string, ok bool) {
	for _, p := range protocols(h) {
		if t, ok := strings.CutPrefix(p, bearerProtocol); ok {
			return t, true
		}
	}
	return "", false
}

// withoutToken takes the token from the offered subprotocols, so that nothing further in can choose or show it.
func withoutToken(h http.Header) {
	if _, ok := offered(h); !ok {
		return
	}
	var others []string
	for _, p := range protocols(h) {
		if !strings.HasPrefix(p, bearerProtocol) {
			others = append(others, p)
		}
	}
	if h.Del(headerProtocols); len(others) > 0 {
		h.Set(headerProtocols, strings.Join(others, ", "))
	}
}

func protocols(h http.Header) []string {
	var all []string
	for _, value := range h.Values(headerProtocols) {
		for p := range strings.SplitSeq(value, ",") {
			all = append(all, strings.TrimSpace(p))
		}
	}
	return all
}
