package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/millstream-es/millstream/es"
)

const (
	keysPause   = 30 * time.Second // between two looks at where keys come from, whatever tokens say
	keysAge     = 15 * time.Minute // after which they are looked at again, so that a withdrawn key ends
	keysTimeout = 10 * time.Second
	keysLimit   = 1 << 20 // bytes
)

// KeySet is the public keys that JWTs are verified with. They are read again when a token is signed with one that is
// not known, at most every half minute, and every quarter of an hour anyway; what cannot be read leaves those that
// were there. It is safe for concurrent use.
type KeySet struct {
	load func(context.Context) ([]byte, error)
	from string
	now  func() time.Time
	log  *slog.Logger

	have    atomic.Pointer[keys]
	loading sync.Mutex
	tried   time.Time // guarded by loading
}

// keys is what was read at once; it never changes.
type keys struct {
	all []jose.JSONWebKey
	at  time.Time
}

// KeysFile reads keys from a file: PEM (public keys or certificates) or a JWKS.
func KeysFile(path string, log *slog.Logger) (*KeySet, error) {
	return newKeySet(context.Background(), path, log, func(context.Context) ([]byte, error) { return os.ReadFile(path) })
}

// Discover reads keys from where an issuer says that they are (OpenID Connect Discovery). Transient error: it cannot
// be reached.
func Discover(ctx context.Context, issuer string, log *slog.Logger) (*KeySet, error) {
	client := &http.Client{Timeout: keysTimeout}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuer)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("OIDC discovery of %s: %w", issuer, err))
	}
	var document struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, fmt.Errorf("OIDC discovery of %s: %w", issuer, err)
	}
	return newKeySet(ctx, document.JWKS, log, func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, document.JWKS, nil)
		if err != nil {
			return nil, err
		}
		answer, err := client.Do(request)
		if err != nil {
			return nil, es.Transient(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return nil, es.Transient(fmt.Errorf("expected 200, found %s", answer.Status))
		}
		return io.ReadAll(io.LimitReader(answer.Body, keysLimit))
	})
}

func newKeySet(ctx context.Context, from string, log *slog.Logger, load func(context.Context) ([]byte, error)) (*KeySet, error) {
	s := &KeySet{load: load, from: from, now: time.Now, log: log}
	first, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	s.have.Store(first)
	s.tried = first.at
	return s, nil
}

func (s *KeySet) read(ctx context.Context) (*keys, error) {
	data, err := s.load(ctx)
	if err == nil {
		var all []jose.JSONWebKey
		if all, err = parseKeys(data); err == nil {
			return &keys{all, s.now()}, nil
		}
	}
	return nil, fmt.Errorf("keys from %s: %w", s.from, err)
}

// current returns the keys, read again when they are old.
func (s *KeySet) current(ctx context.Context) (*keys, error) {
	have := s.have.Load()
	if s.now().Sub(have.at) < keysAge {
		return have, nil
	}
	return s.newerThan(ctx, have)
}

// newerThan returns keys read after those, or the same when it is too early to look again, or there was nothing to
// read. Error: ctx ended.
func (s *KeySet) newerThan(ctx context.Context, seen *keys) (*keys, error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	have := s.have.Load()
	if have != seen || s.now().Sub(s.tried) < keysPause {
		return have, nil
	}
	s.tried = s.now()
	// Others wait for the outcome, so it must not hang on this one caller's patience.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTimeout)
	defer cancel()
	next, err := s.read(bounded)
	if err != nil {
		s.log.Warn("the keys that JWTs are verified with cannot be read again, so the former ones stay", "error", err)
		return have, ctx.Err()
	}
	s.have.Store(next)
	return next, nil
}

// find returns the keys that may have signed a token: of its kid, or of none, and made for its algorithm.
func (k *keys) find(id, algorithm string) (any, error) {
	var set jwt.VerificationKeySet
	for _, key := range k.all {
		if (id == "" || key.KeyID == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) && fits(key.Key, algorithm) {
			set.Keys = append(set.Keys, key.Key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errUnknownKey
	}
	return set, nil
}

// fits reports whether a key is of the kind that an algorithm signs with.
func fits(key any, algorithm string) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[algorithm] == key.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// parseKeys reads PEM or a JWKS. Errors: nothing usable, a private or a shared key, an RSA key of less than 2048 bits.
func parseKeys(data []byte) ([]jose.JSONWebKey, error) {
	var all []jose.JSONWebKey
	var err error
	if text := strings.TrimSpace(string(data)); strings.HasPrefix(text, "{") {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(data, &set); err != nil {
			return nil, fmt.Errorf("not a JWKS: %w", err)
		}
		for _, key := range set.Keys {
			if key.Use == "" || key.Use == "sig" {
				all = append(all, key)
			}
		}
	} else if all, err = parsePEM(data); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("there is no key in it: PEM blocks (PUBLIC KEY, CERTIFICATE) or a JWKS are expected")
	}
	for i, key := range all {
		switch key := key.Key.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() < 2048 {
				return nil, fmt.Errorf("key %d is an RSA key of %d bits: at least 2048 are expected", i+1, key.N.BitLen())
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			return nil, fmt.Errorf("key %d is a %T: public keys for RSA, ECDSA or Ed25519 are expected, and nothing secret", i+1, key)
		}
	}
	return all, nil
}

func parsePEM(data []byte) ([]jose.JSONWebKey, error) {
	var all []jose.JSONWebKey
	for n := 1; ; n++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return all, nil
		}
		var key any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		default:
			err = fmt.Errorf("it is a %s: only public keys belong here", block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		all = append(all, jose.JSONWebKey{Key: key})
	}
}
