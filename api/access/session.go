package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/millstream-es/millstream/es"
)

// SessionCookie is the name of the console's cookie.
const SessionCookie = "millstream_session"

const (
	sessionTime  = 12 * time.Hour
	sessionLimit = 10_000 // at once; the one that would end first makes room for one more
)

// Sessions lets a browser log in: it takes a token once and is known by a cookie from then on. Sessions are in this
// process's memory and end with it.
//
// A session is as good as its token: that is looked at again with every request, so a session ends when its key is
// revoked or its JWT expires.
type Sessions struct {
	login Authenticator
	now   func() time.Time

	mu   sync.Mutex
	open map[[sha256.Size]byte]session // by the hash of what the cookie holds
}

type session struct {
	token   string
	expires time.Time
}

// NewSessions takes whatever login takes, and cookies besides.
func NewSessions(login Authenticator) *Sessions {
	return &Sessions{login: login, now: time.Now, open: map[[sha256.Size]byte]session{}}
}

// Routes are what Handler serves. They ask for nobody: two of them are how a caller becomes known or unknown, and the
// third answers 401 by itself.
func (s *Sessions) Routes() []Route {
	return []Route{{http.MethodPost, "/session", Public}, {http.MethodGet, "/session", Public}, {http.MethodDelete, "/session", Public}}
}

// Authenticate is part of Authenticator. A token in the request wins over its cookie.
func (s *Sessions) Authenticate(r *http.Request) (Principal, error) {
	p, err := s.login.Authenticate(r)
	if !errors.Is(err, ErrNoCredentials) {
		return p, err
	}
	cookie, err := r.Cookie(SessionCookie)
	if err != nil {
		return Principal{}, ErrNoCredentials
	}
	key := sha256.Sum256([]byte(cookie.Value))
	s.mu.Lock()
	found, known := s.open[key]
	if known && !s.now().Before(found.expires) {
		delete(s.open, key)
		known = false
	}
	s.mu.Unlock()
	if !known {
		return Principal{}, &UnauthenticatedError{Reason: "the session has ended: log in again", Invalid: true}
	}
	return s.login.Authenticate(bearing(r, found.token))
}

// bearing is a request that carries nothing but a token.
func bearing(r *http.Request, token string) *http.Request {
	with := r.Clone(r.Context())
	with.Header = http.Header{"Authorization": {"Bearer " + token}}
	return with
}

// Refuse answers a request with an error: an *UnauthenticatedError, an *es.InvalidError or one of the machinery.
type Refuse func(w http.ResponseWriter, r *http.Request, err error)

// Handler serves Routes: POST {"token": "…"} logs in, GET says who is in, DELETE logs out. The answer of the first
// two is a Principal.
func (s *Sessions) Handler(refuse Refuse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		switch r.Method {
		case http.MethodPost:
			s.begin(w, r, refuse)
		case http.MethodDelete:
			s.end(w, r)
		default:
			p, err := s.Authenticate(r)
			if err != nil {
				refuse(w, r, err)
				return
			}
			answer(w, p)
		}
	})
}

// Login is the body that opens a session.
type Login struct {
	Token string `json:"token"` // an API key or a JWT
}

func (s *Sessions) begin(w http.ResponseWriter, r *http.Request, refuse Refuse) {
	// A form on another site can send neither this type nor, with SameSite=Strict, the cookie.
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		refuse(w, r, &es.InvalidError{Code: "unsupported_media_type", Message: "the body must be application/json"})
		return
	}
	var body Login
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 2*maxToken)).Decode(&body); err != nil {
		refuse(w, r, &es.InvalidError{Code: "malformed", Message: `the body must be {"token":"…"} with an API key or a JWT`})
		return
	}
	err := checkToken(body.Token)
	var p Principal
	if err == nil {
		p, err = s.login.Authenticate(bearing(r, body.Token))
	}
	if err != nil {
		refuse(w, r, err)
		return
	}
	http.SetCookie(w, cookie(r, s.remember(body.Token), int(sessionTime.Seconds())))
	answer(w, p)
}

// remember opens a session and returns what its cookie holds.
func (s *Sessions) remember(token string) string {
	id := rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	var first [sha256.Size]byte
	for key, other := range s.open {
		if !s.now().Before(other.expires) {
			delete(s.open, key)
		} else if have, any := s.open[first]; !any || other.expires.Before(have.expires) {
			first = key
		}
	}
	if len(s.open) >= sessionLimit {
		delete(s.open, first)
	}
	s.open[sha256.Sum256([]byte(id))] = session{token, s.now().Add(sessionTime)}
	return id
}

func (s *Sessions) end(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(SessionCookie); err == nil {
		s.mu.Lock()
		delete(s.open, sha256.Sum256([]byte(c.Value)))
		s.mu.Unlock()
	}
	http.SetCookie(w, cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
}

// cookie is for this site alone, and for encrypted connections alone unless the browser is on the same machine. A proxy
// that is not trusted cannot say X-Forwarded-Proto: the door has taken it away.
func cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: SessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" || !IsLocal(r.Host),
	}
}

// IsLocal reports whether a request's Host names the machine that its caller is on.
func IsLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

func answer(w http.ResponseWriter, p Principal) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(p) //nolint:errcheck // the client has gone; nobody is left to tell
}
