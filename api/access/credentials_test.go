package access_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es/ops"
)

// The key is made up: 16 hexadecimal digits and 52 of base32.
const (
	keyID     = "0123456789abcdef"
	keySecret = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
	keyText   = "msk_" + keyID + "_" + keySecret
)

type fakeKeys struct {
	mu  sync.Mutex
	key ops.Key
}

func (f *fakeKeys) Lookup(id string) (ops.Key, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.key, id == f.key.ID
}

func (f *fakeKeys) change(do func(*ops.Key)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.key)
}

func newKeys(t *testing.T) *fakeKeys {
	t.Helper()
	id, hash, ok := ops.ParseKey(keyText)
	if !ok {
		t.Fatal("the key cannot be read")
	}
	return &fakeKeys{key: ops.Key{ID: id, Name: "ci", Role: "operator", Scopes: []string{"query.ask"}, Hash: hash}}
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*ops.Key)
		header http.Header
		says   string // "": taken
	}{
		{"bearer", nil, http.Header{"Authorization": {"Bearer " + keyText}}, ""},
		{"bearer in small letters", nil, http.Header{"Authorization": {"bearer  " + keyText}}, ""},
		{"a header of its own", nil, http.Header{"X-Api-Key": {keyText}}, ""},
		{"a subprotocol", nil, http.Header{"Sec-Websocket-Protocol": {"millstream.v1, bearer." + keyText}}, ""},
		{"not expired yet", func(k *ops.Key) { k.ExpiresAt = time.Now().Add(time.Hour) }, http.Header{"X-Api-Key": {keyText}}, ""},
		{"no credentials", nil, http.Header{}, "does not say who"},
		{"expired", func(k *ops.Key) { k.ExpiresAt = time.Now().Add(-time.Second) }, http.Header{"X-Api-Key": {keyText}}, "is expired"},
		{"revoked", func(k *ops.Key) { k.RevokedAt = time.Now() }, http.Header{"X-Api-Key": {keyText}}, "is revoked"},
		{"unknown id", nil, http.Header{"X-Api-Key": {"msk_ffffffffffffffff_" + keySecret}}, "is not known"},
		{"another secret", nil, http.Header{"X-Api-Key": {strings.Replace(keyText, "abc", "aba", 1)}}, "is not known"},
		{"a key without a hash", func(k *ops.Key) { k.Hash = "" }, http.Header{"X-Api-Key": {keyText}}, "is not known"},
		{"half a key", nil, http.Header{"X-Api-Key": {keyText[:40]}}, "all of it"},
		{"too long", nil, http.Header{"X-Api-Key": {keyText + "a"}}, "all of it"},
		{"capitals", nil, http.Header{"X-Api-Key": {"msk_" + strings.ToUpper(keyID) + "_" + keySecret}}, "all of it"},
		{"the hash itself", nil, http.Header{"X-Api-Key": {"msk_" + keyID + "_5d41402abc4b2a76b9719d911017c592"}}, "all of it"},
		{"two credentials", nil, http.Header{"Authorization": {"Bearer " + keyText}, "X-Api-Key": {keyText}}, "2 credentials"},
		{"two headers", nil, http.Header{"Authorization": {"Bearer " + keyText, "Bearer " + keyText}}, "2 credentials"},
		{"another scheme", nil, http.Header{"Authorization": {"Basic YTpi"}}, "scheme"},
		{"scheme alone", nil, http.Header{"Authorization": {"Bearer"}}, "empty"},
		{"an empty header", nil, http.Header{"X-Api-Key": {""}}, "empty"},
		{"two words", nil, http.Header{"Authorization": {"Bearer " + keyText + " x"}}, "character"},
		{"megabytes", nil, http.Header{"Authorization": {"Bearer " + strings.Repeat("a", 1<<20)}}, "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			keys := newKeys(t)
			if c.change != nil {
				keys.change(c.change)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header = c.header
			p, err := access.Chain(access.APIKeys(keys)).Authenticate(r)
			if c.says == "" {
				if err != nil || p.Name != "ci" || p.Role != access.Operator || p.Method != "key" || len(p.Scopes) != 1 {
					t.Errorf("%+v, %v", p, err)
				}
				if got := r.Header.Get("Sec-WebSocket-Protocol"); strings.Contains(got, "bearer") {
					t.Errorf("the token is still among the subprotocols: %s", got)
				}
				return
			}
			var unknown *access.UnauthenticatedError
			if !errors.As(err, &unknown) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), keySecret) {
				t.Errorf("expected a 401 with %q, found %+v, %v", c.says, p, err)
			}
		})
	}
}

func TestATokenInTheAddressIsNotRead(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/?access_token="+keyText+"&token="+keyText, nil)
	if _, err := access.Chain(access.APIKeys(newKeys(t))).Authenticate(r); !errors.Is(err, access.ErrNoCredentials) {
		t.Errorf("expected no credentials, found %v", err)
	}
}

func TestDevBelieves(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if p, err := access.Dev().Authenticate(r); err != nil || p.Name != "dev" || p.Role != access.Admin || p.Method != "dev" {
		t.Errorf("%+v, %v", p, err)
	}
	r.Header.Set("User-Id", "ada")
	if p, err := access.Dev().Authenticate(r); err != nil || p.Name != "ada" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := access.Chain(access.APIKeys(newKeys(t))).Authenticate(r); err == nil {
		t.Errorf("a User-Id is believed where callers are authenticated: %+v", p)
	}
}

// FuzzToken: whatever the headers hold, a token that comes out is one that went in and can stand in a header.
func FuzzToken(f *testing.F) {
	f.Add("Bearer "+keyText, "", "")
	f.Add("", keyText, "")
	f.Add("", "", "millstream.v1, bearer.abc")
	f.Add("Basic YTpi", "", "")
	f.Add("bearer\t x", "\x00", "bearer., ,bearer.a")
	f.Fuzz(func(t *testing.T, authorization, key, protocols string) {
		r := &http.Request{Header: http.Header{}}
		for name, value := range map[string]string{"Authorization": authorization, "X-Api-Key": key, "Sec-Websocket-Protocol": protocols} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		token, err := access.Token(r)
		if err != nil {
			var unknown *access.UnauthenticatedError
			if !errors.As(err, &unknown) || token != "" && len(token) <= 8<<10 && !strings.ContainsAny(token, "\x00\r\n ,") && strings.TrimFunc(token, plain) == "" {
				t.Fatalf("%q: %v", token, err)
			}
			return
		}
		if token == "" || len(token) > 8<<10 || strings.TrimFunc(token, plain) != "" || !strings.Contains(authorization+key+protocols, token) {
			t.Fatalf("the token %q came from %q, %q, %q", token, authorization, key, protocols)
		}
		if _, _, ok := ops.ParseKey(token); ok && !strings.HasPrefix(token, "msk_") {
			t.Fatalf("%q is an API key", token)
		}
	})
}

func plain(c rune) bool {
	return c < 0x80 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~+/=", c))
}
