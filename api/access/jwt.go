package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// jwtLeeway is how far apart the clocks of the issuer and of this machine may be.
const jwtLeeway = 30 * time.Second

// Algorithms are those that JWTs may be signed with: the asymmetric ones, so that a public key never verifies as a
// shared secret.
var Algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// JWTConfig says which JWTs are believed.
type JWTConfig struct {
	Issuer     string // exactly the token's iss
	Audience   string // one of the token's aud
	Algorithms []string
	Keys       *KeySet
	// RoleClaim is the claim that says the role, a text or a list of texts; dots lead into objects
	// (realm_access.roles). Default: role.
	RoleClaim string
	// Roles gives what stands in RoleClaim its role; of several the highest counts. Nil: the roles' own names.
	Roles map[string]Role
}

type jwts struct {
	JWTConfig
	parser *jwt.Parser
}

// JWTs authenticates JSON Web Tokens (RFC 7519). The error joins all that is wrong with the configuration.
func JWTs(c JWTConfig) (Authenticator, error) {
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"RS256", "ES256", "EdDSA"}
	}
	if c.RoleClaim == "" {
		c.RoleClaim = "role"
	}
	if c.Roles == nil {
		c.Roles = map[string]Role{}
		for _, r := range Roles {
			c.Roles[string(r)] = r
		}
	}
	var errs []error
	for _, field := range []struct{ name, value string }{{"issuer", c.Issuer}, {"audience", c.Audience}} {
		if field.value == "" {
			errs = append(errs, fmt.Errorf("there is no %s: a token for somebody else would be believed", field.name))
		}
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(Algorithms, a) {
			errs = append(errs, fmt.Errorf("algorithm %.20q is not taken: choose among %s", a, strings.Join(Algorithms, ", ")))
		}
	}
	if c.Keys == nil {
		errs = append(errs, errors.New("there are no keys to verify with"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("JWT: %w", err)
	}
	return &jwts{c, jwt.NewParser(
		jwt.WithValidMethods(c.Algorithms), jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(jwtLeeway), jwt.WithStrictDecoding(),
	)}, nil
}

// errUnknownKey is a token signed with a key that is not in the set.
var errUnknownKey = errors.New("signed with a key that is not known here")

// Authenticate is part of Authenticator.
func (j *jwts) Authenticate(r *http.Request) (Principal, error) {
	t, err := token(r)
	if err != nil {
		return Principal{}, err
	}
	if strings.Count(t, ".") != 2 {
		return Principal{}, ErrNoCredentials
	}
	claims, err := j.verify(r.Context(), t)
	if err != nil {
		return Principal{}, err
	}
	subject, err := claims.GetSubject()
	if err != nil || subject == "" {
		return Principal{}, invalid("the JWT names no subject (sub)")
	}
	return Principal{Name: subject, Role: j.role(claims), Method: "jwt"}, nil
}

// verify checks signature and claims, and once more with newer keys when there are any.
func (j *jwts) verify(ctx context.Context, text string) (jwt.MapClaims, error) {
	keys, err := j.Keys.current(ctx)
	if err != nil {
		return nil, err
	}
	claims, err := j.parse(text, keys)
	if errors.Is(err, errUnknownKey) || errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		newer, e := j.Keys.newerThan(ctx, keys)
		if e != nil {
			return nil, e
		}
		if newer != keys {
			claims, err = j.parse(text, newer)
		}
	}
	if err != nil {
		return nil, invalid("the JWT is not good: %s", j.why(err))
	}
	return claims, nil
}

func (j *jwts) parse(text string, keys *keys) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	_, err := j.parser.ParseWithClaims(text, claims, func(t *jwt.Token) (any, error) {
		// RFC 7515: an extension that must be understood, and is not.
		if _, critical := t.Header["crit"]; critical {
			return nil, errors.New("its header has crit")
		}
		id, _ := t.Header["kid"].(string)
		return keys.find(id, t.Method.Alg())
	})
	return claims, err
}

// why tells a caller what is wrong without repeating any of the token.
func (j *jwts) why(err error) string {
	for _, w := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenInvalidIssuer, "its issuer (iss) is not " + j.Issuer},
		{jwt.ErrTokenInvalidAudience, "its audience (aud) does not name " + j.Audience},
		{jwt.ErrTokenRequiredClaimMissing, "it lacks exp, iss or aud"},
		{errUnknownKey, errUnknownKey.Error()},
		{jwt.ErrTokenSignatureInvalid, "its signature, or the algorithm of it, is none that is taken here"},
		{jwt.ErrTokenMalformed, "it cannot be read"},
	} {
		if errors.Is(err, w.is) {
			return w.text
		}
	}
	return "it cannot be verified"
}

// role is the highest that the claim leads to; "": none.
func (j *jwts) role(claims jwt.MapClaims) (highest Role) {
	var value any = map[string]any(claims)
	for name := range strings.SplitSeq(j.RoleClaim, ".") {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	values, several := value.([]any)
	if !several {
		values = []any{value}
	}
	for _, v := range values {
		text, _ := v.(string)
		if r, mapped := j.Roles[text]; mapped && r.Includes(r) && !highest.Includes(r) {
			highest = r
		}
	}
	return highest
}
