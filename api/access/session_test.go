package access_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

// refuse answers with the status alone.
func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	var unknown *access.UnauthenticatedError
	if errors.As(err, &unknown) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.WriteHeader(runtime.Status(err))
}

func login(t *testing.T, s *access.Sessions, host, body string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://"+host+"/session", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return do(s, r)
}

func do(s *access.Sessions, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	s.Handler(refuse).ServeHTTP(w, r)
	return w.Result()
}

func with(method string, c *http.Cookie) *http.Request {
	r := httptest.NewRequest(method, "/session", nil)
	if c != nil {
		r.AddCookie(c)
	}
	return r
}

func TestASessionStandsForItsToken(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	s := access.NewSessions(access.Chain(access.APIKeys(keys)))
	answer := login(t, s, "millstream.example", `{"token":"`+keyText+`"}`)
	if answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 1 || answer.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	c := answer.Cookies()[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 {
		t.Errorf("the cookie is open to others: %s", c)
	}
	if strings.Contains(c.Value, keySecret) || len(c.Value) < 32 {
		t.Errorf("the cookie holds %q", c.Value)
	}
	var p access.Principal
	who := do(s, with(http.MethodGet, c))
	if err := json.NewDecoder(who.Body).Decode(&p); err != nil || who.StatusCode != http.StatusOK || p.Name != "ci" || p.Role != access.Operator {
		t.Errorf("%d %+v, %v", who.StatusCode, p, err)
	}

	keys.change(func(k *ops.Key) { k.RevokedAt = time.Now() })
	if who := do(s, with(http.MethodGet, c)); who.StatusCode != http.StatusUnauthorized {
		t.Errorf("the key is revoked, and its session answers %d", who.StatusCode)
	}
	keys.change(func(k *ops.Key) { k.RevokedAt = time.Time{} })

	out := do(s, with(http.MethodDelete, c))
	if gone := out.Cookies(); out.StatusCode != http.StatusNoContent || len(gone) != 1 || gone[0].MaxAge >= 0 {
		t.Errorf("%d %v", out.StatusCode, out.Header)
	}
	if who := do(s, with(http.MethodGet, c)); who.StatusCode != http.StatusUnauthorized {
		t.Errorf("logged out, and the session answers %d", who.StatusCode)
	}
}

func TestASessionEnds(t *testing.T) {
	t.Parallel()
	s := access.NewSessions(access.Chain(access.APIKeys(newKeys(t))))
	clock := time.Now()
	s.SetClock(func() time.Time { return clock })
	c := login(t, s, "localhost:8080", `{"token":"`+keyText+`"}`).Cookies()[0]
	clock = clock.Add(11 * time.Hour)
	if _, err := s.Authenticate(with(http.MethodGet, c)); err != nil {
		t.Error(err)
	}
	clock = clock.Add(2 * time.Hour)
	if _, err := s.Authenticate(with(http.MethodGet, c)); err == nil {
		t.Error("the session goes on for ever")
	}
}

func TestSessionsAreForWhoeverMayComeIn(t *testing.T) {
	t.Parallel()
	s := access.NewSessions(access.Chain(access.APIKeys(newKeys(t))))
	for body, status := range map[string]int{
		`{"token":"` + strings.Replace(keyText, "abc", "aba", 1) + `"}`: http.StatusUnauthorized,
		`{"token":""}`:                    http.StatusUnauthorized,
		`{"token":"a b"}`:                 http.StatusUnauthorized,
		`{}`:                              http.StatusUnauthorized,
		`{"token":7}`:                     http.StatusBadRequest,
		`token=` + keyText:                http.StatusBadRequest,
		``:                                http.StatusBadRequest,
		`"` + strings.Repeat("a", 1<<20):  http.StatusBadRequest,
		`{"token":"x\r\nX-Api-Key: evil"`: http.StatusBadRequest,
	} {
		if answer := login(t, s, "localhost", body); answer.StatusCode != status || len(answer.Cookies()) != 0 {
			t.Errorf("%.40s: expected %d and no cookie, found %d %v", body, status, answer.StatusCode, answer.Cookies())
		}
	}
	form := httptest.NewRequest(http.MethodPost, "/session", strings.NewReader(`{"token":"`+keyText+`"}`))
	form.Header.Set("Content-Type", "text/plain")
	if answer := do(s, form); answer.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("what a form can send is taken: %d", answer.StatusCode)
	}
	for _, value := range []string{"", "made-up", keyText} {
		if _, err := s.Authenticate(with(http.MethodGet, &http.Cookie{Name: access.SessionCookie, Value: value})); err == nil {
			t.Errorf("the cookie %q is a session", value)
		}
	}
	if _, err := s.Authenticate(with(http.MethodGet, nil)); !errors.Is(err, access.ErrNoCredentials) {
		t.Error(err)
	}
}

func TestATokenWinsOverACookie(t *testing.T) {
	t.Parallel()
	s := access.NewSessions(access.Chain(access.APIKeys(newKeys(t))))
	c := login(t, s, "localhost", `{"token":"`+keyText+`"}`).Cookies()[0]
	if c.Secure {
		t.Error("a browser on the same machine would not send the cookie back over plain HTTP")
	}
	proxied := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080/session", strings.NewReader(`{"token":"`+keyText+`"}`))
	proxied.Header = http.Header{"Content-Type": {"application/json"}, "X-Forwarded-Proto": {"https"}}
	if cookies := do(s, proxied).Cookies(); len(cookies) != 1 || !cookies[0].Secure {
		t.Errorf("behind a proxy that encrypts: %v", cookies)
	}
	r := with(http.MethodGet, c)
	r.Header.Set("Authorization", "Bearer garbage")
	if _, err := s.Authenticate(r); err == nil {
		t.Error("the cookie covers up for a bad token")
	}
	dev := access.NewSessions(access.Dev())
	if p, err := dev.Authenticate(with(http.MethodGet, nil)); err != nil || p.Method != "dev" {
		t.Errorf("%+v, %v", p, err)
	}
}
