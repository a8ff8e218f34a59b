package access_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/millstream-es/millstream/api/access"
)

const (
	issuer   = "https://issuer.example"
	audience = "millstream"
)

// testKeys are made once: RSA takes its time.
var testKeys = sync.OnceValue(func() (k struct {
	rsa, otherRSA *rsa.PrivateKey
	ec            *ecdsa.PrivateKey
	ed            ed25519.PrivateKey
}) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.otherRSA, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return k
})

func claims(change jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"iss": issuer, "aud": audience, "sub": "ada", "role": "operator", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(c, change)
	for name, v := range c {
		if v == nil {
			delete(c, name)
		}
	}
	return c
}

func sign(t *testing.T, m jwt.SigningMethod, key any, header map[string]any, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(m, c)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func publicPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func jwks(t *testing.T, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func keysFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func believer(t *testing.T, data []byte, change func(*access.JWTConfig)) access.Authenticator {
	t.Helper()
	keys, err := access.KeysFile(keysFile(t, data), quiet())
	if err != nil {
		t.Fatal(err)
	}
	c := access.JWTConfig{Issuer: issuer, Audience: audience, Keys: keys}
	if change != nil {
		change(&c)
	}
	a, err := access.JWTs(c)
	if err != nil {
		t.Fatal(err)
	}
	return access.Chain(a)
}

func bearing(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestJWTs(t *testing.T) {
	t.Parallel()
	k := testKeys()
	public := jwks(t,
		jose.JSONWebKey{KeyID: "r", Key: &k.rsa.PublicKey}, jose.JSONWebKey{KeyID: "e", Key: &k.ec.PublicKey}, jose.JSONWebKey{KeyID: "d", Key: k.ed.Public()},
		jose.JSONWebKey{KeyID: "enc", Use: "enc", Key: &k.otherRSA.PublicKey})
	a := believer(t, public, nil)
	kid := func(id string) map[string]any { return map[string]any{"kid": id} }
	parts := strings.Split(sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(nil)), ".")
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	rsaPEM := publicPEM(t, &k.rsa.PublicKey)
	ownKey := jose.JSONWebKey{KeyID: "mine", Key: &k.otherRSA.PublicKey}

	for name, text := range map[string]string{
		"RSA":                             strings.Join(parts, "."),
		"ECDSA":                           sign(t, jwt.SigningMethodES256, k.ec, kid("e"), claims(nil)),
		"Ed25519":                         sign(t, jwt.SigningMethodEdDSA, k.ed, kid("d"), claims(nil)),
		"without kid":                     sign(t, jwt.SigningMethodRS256, k.rsa, nil, claims(nil)),
		"several audiences":               sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"aud": []string{"other", audience}})),
		"expired within the leeway":       sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"exp": time.Now().Add(-5 * time.Second).Unix()})),
		"not yet valid within the leeway": sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"nbf": time.Now().Add(20 * time.Second).Unix()})),
	} {
		t.Run("taken: "+name, func(t *testing.T) {
			t.Parallel()
			p, err := a.Authenticate(bearing(text))
			if err != nil || p.Name != "ada" || p.Role != access.Operator || p.Method != "jwt" {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	for name, c := range map[string]struct{ token, says string }{
		"algorithm none":                       {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid("r"), claims(nil)), "signature"},
		"algorithm none, capitals":             {encode(map[string]any{"alg": "NONE", "typ": "JWT"}) + "." + parts[1] + ".", "cannot be"},
		"algorithm missing":                    {encode(map[string]any{"typ": "JWT"}) + "." + parts[1] + "." + parts[2], "cannot be"},
		"HS256 with the public key as secret":  {sign(t, jwt.SigningMethodHS256, rsaPEM, kid("r"), claims(nil)), "signature"},
		"HS256 with the DER as secret":         {sign(t, jwt.SigningMethodHS256, x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey), kid("r"), claims(nil)), "signature"},
		"HS256 with an empty secret":           {sign(t, jwt.SigningMethodHS256, []byte{}, kid("r"), claims(nil)), "signature"},
		"an algorithm that is not on the list": {sign(t, jwt.SigningMethodPS256, k.rsa, kid("r"), claims(nil)), "signature"},
		"the key of another":                   {sign(t, jwt.SigningMethodRS256, k.otherRSA, kid("r"), claims(nil)), "signature"},
		"the key of another, unknown kid":      {sign(t, jwt.SigningMethodRS256, k.otherRSA, kid("nobody"), claims(nil)), "not known"},
		"the key of another, no kid":           {sign(t, jwt.SigningMethodRS256, k.otherRSA, nil, claims(nil)), "signature"},
		"a key that is for encryption":         {sign(t, jwt.SigningMethodRS256, k.otherRSA, kid("enc"), claims(nil)), "not known"},
		"its own key in the header":            {sign(t, jwt.SigningMethodRS256, k.otherRSA, map[string]any{"kid": "mine", "jwk": ownKey}, claims(nil)), "not known"},
		"a place to fetch its own key from":    {sign(t, jwt.SigningMethodRS256, k.otherRSA, map[string]any{"kid": "mine", "jku": "http://127.0.0.1:1/keys"}, claims(nil)), "not known"},
		"kid of an ECDSA key, signed by RSA":   {sign(t, jwt.SigningMethodRS256, k.rsa, kid("e"), claims(nil)), "not known"},
		"kid that is no text":                  {sign(t, jwt.SigningMethodRS256, k.otherRSA, map[string]any{"kid": 7}, claims(nil)), "signature"},
		"an extension that must be understood": {sign(t, jwt.SigningMethodRS256, k.rsa, map[string]any{"kid": "r", "crit": []string{"b64"}}, claims(nil)), "verified"},
		"another issuer":                       {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"iss": issuer + ".evil"})), "issuer"},
		"no issuer":                            {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"iss": nil})), "iss"},
		"another audience":                     {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"aud": "other"})), "audience"},
		"no audience":                          {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"aud": nil})), "aud"},
		"expired":                              {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()})), "expired"},
		"never expires":                        {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"exp": nil})), "exp"},
		"not yet valid":                        {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()})), "not valid yet"},
		"no subject":                           {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"sub": nil})), "sub"},
		"a subject that is no text":            {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"sub": 7})), "sub"},
		"a subject that is the engine's":       {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"sub": "engine"})), "own"},
		"a subject that is a saga's":           {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"sub": "saga:fulfilment"})), "own"},
		"a subject with a line break":          {sign(t, jwt.SigningMethodRS256, k.rsa, kid("r"), claims(jwt.MapClaims{"sub": "a\r\nX: y"})), "printable"},
		"claims changed after signing":         {parts[0] + "." + encode(claims(jwt.MapClaims{"role": "admin"})) + "." + parts[2], "signature"},
		"signature cut off":                    {parts[0] + "." + parts[1] + ".", "signature"},
		"garbage with two dots":                {"a.b.c", "cannot be"},
		"dots alone":                           {"..", "cannot be"},
		"garbage":                              {"garbage", "not taken"},
		"an API key where none are taken":      {"msk_0123456789abcdef_x", "not taken"},
		"too large":                            {strings.Repeat("a", 9000) + ".b.c", "bytes"},
		"five parts (encrypted)":               {"a.b.c.d.e", "not taken"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			t.Parallel()
			p, err := a.Authenticate(bearing(c.token))
			var unknown *access.UnauthenticatedError
			if !errors.As(err, &unknown) || !unknown.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("expected a 401 with %q, found %+v, %v", c.says, p, err)
			}
			if len(c.token) > 20 && strings.Contains(err.Error(), c.token[:20]) {
				t.Errorf("the answer repeats the token: %v", err)
			}
		})
	}
}

func TestRolesInJWTs(t *testing.T) {
	t.Parallel()
	k := testKeys()
	public := publicPEM(t, &k.rsa.PublicKey)
	named := believer(t, public, nil)
	mapped := believer(t, public, func(c *access.JWTConfig) {
		c.RoleClaim = "realm_access.roles"
		c.Roles = map[string]access.Role{"staff": access.Viewer, "ops-team": access.Admin}
	})
	for _, c := range []struct {
		name   string
		a      access.Authenticator
		claims jwt.MapClaims
		role   access.Role
	}{
		{"its own name", named, jwt.MapClaims{"role": "viewer"}, access.Viewer},
		{"the highest of several", named, jwt.MapClaims{"role": []string{"viewer", "admin", "operator"}}, access.Admin},
		{"none", named, jwt.MapClaims{"role": nil}, ""},
		{"an unknown one", named, jwt.MapClaims{"role": "root"}, ""},
		{"of another kind", named, jwt.MapClaims{"role": map[string]any{"admin": true}}, ""},
		{"mapped", mapped, jwt.MapClaims{"realm_access": map[string]any{"roles": []string{"staff", "ops-team"}}}, access.Admin},
		{"not mapped", mapped, jwt.MapClaims{"realm_access": map[string]any{"roles": []string{"admin"}}}, ""},
		{"not there", mapped, jwt.MapClaims{"realm_access": "admin", "role": "admin"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := c.a.Authenticate(bearing(sign(t, jwt.SigningMethodRS256, k.rsa, nil, claims(c.claims))))
			if err != nil || p.Role != c.role {
				t.Errorf("expected role %q, found %q, %v", c.role, p.Role, err)
			}
		})
	}
}

func TestJWTConfigurationsThatWouldBelieveTooMuch(t *testing.T) {
	t.Parallel()
	keys, err := access.KeysFile(keysFile(t, publicPEM(t, &testKeys().rsa.PublicKey)), quiet())
	if err != nil {
		t.Fatal(err)
	}
	for says, c := range map[string]access.JWTConfig{
		"issuer":   {Audience: audience, Keys: keys},
		"audience": {Issuer: issuer, Keys: keys},
		"keys":     {Issuer: issuer, Audience: audience},
		"HS256":    {Issuer: issuer, Audience: audience, Keys: keys, Algorithms: []string{"RS256", "HS256"}},
		"none":     {Issuer: issuer, Audience: audience, Keys: keys, Algorithms: []string{"none"}},
	} {
		if _, err := access.JWTs(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("expected a fault about %s, found %v", says, err)
		}
	}
	k := testKeys()
	private, err := x509.MarshalPKCS8PrivateKey(k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // that is the point
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing":        nil,
		"text":           []byte("hello"),
		"an empty JWKS":  []byte(`{"keys":[]}`),
		"half a JWKS":    []byte(`{"keys":[`),
		"a private key":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"a private JWK":  jwks(t, jose.JSONWebKey{KeyID: "p", Key: k.rsa}),
		"a shared JWK":   jwks(t, jose.JSONWebKey{KeyID: "s", Key: []byte("secret-secret-secret-secret-secret")}),
		"a short RSA":    publicPEM(t, &weak.PublicKey),
		"a broken block": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
	} {
		if _, err := access.KeysFile(keysFile(t, data), quiet()); err == nil {
			t.Errorf("%s was taken for public keys", name)
		}
	}
	if _, err := access.KeysFile(filepath.Join(t.TempDir(), "absent"), quiet()); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestDiscoveredKeysAreFetchedAgainButNotAtWill(t *testing.T) {
	t.Parallel()
	k := testKeys()
	var fetched atomic.Int32
	var served atomic.Pointer[[]byte]
	first := jwks(t, jose.JSONWebKey{KeyID: "1", Key: &k.rsa.PublicKey})
	served.Store(&first)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": server.URL, "jwks_uri": server.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		w.Write(bytes.TrimSpace(*served.Load()))
	})
	keys, err := access.Discover(t.Context(), server.URL, quiet())
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	keys.SetClock(func() time.Time { return clock })
	a, err := access.JWTs(access.JWTConfig{Issuer: server.URL, Audience: audience, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	token := func(key *rsa.PrivateKey, kid string) *http.Request {
		return bearing(sign(t, jwt.SigningMethodRS256, key, map[string]any{"kid": kid}, claims(jwt.MapClaims{"iss": server.URL})))
	}
	want := func(r *http.Request, ok bool, fetches int32) {
		t.Helper()
		if _, err := a.Authenticate(r); (err == nil) != ok {
			t.Errorf("taken: %v, expected %v: %v", err == nil, ok, err)
		}
		if n := fetched.Load(); n != fetches {
			t.Errorf("the keys were fetched %d times, expected %d", n, fetches)
		}
	}
	want(token(k.rsa, "1"), true, 1)
	both := jwks(t, jose.JSONWebKey{KeyID: "1", Key: &k.rsa.PublicKey}, jose.JSONWebKey{KeyID: "2", Key: &k.otherRSA.PublicKey})
	served.Store(&both)
	want(token(k.otherRSA, "2"), false, 1) // too early
	clock = clock.Add(31 * time.Second)
	want(token(k.otherRSA, "2"), true, 2)
	for range 5 {
		want(token(k.otherRSA, "made-up"), false, 2)
	}
	second := jwks(t, jose.JSONWebKey{KeyID: "2", Key: &k.otherRSA.PublicKey})
	served.Store(&second)
	clock = clock.Add(16 * time.Minute)
	want(token(k.rsa, "1"), false, 3) // withdrawn
	broken := []byte("oops")
	served.Store(&broken)
	clock = clock.Add(16 * time.Minute)
	want(token(k.otherRSA, "2"), true, 4) // what was there stays
}

func TestDiscoveryOfAnotherIssuerFails(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"})
	}))
	t.Cleanup(server.Close)
	if _, err := access.Discover(t.Context(), server.URL, quiet()); err == nil {
		t.Error("an issuer that calls itself otherwise was believed")
	}
}
