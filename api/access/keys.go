package access

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/millstream-es/millstream/es/ops"
)

// Keys knows API keys by their ids.
type Keys interface {
	Lookup(id string) (ops.Key, bool)
}

type apiKeys struct{ keys Keys }

// APIKeys authenticates API keys (msk_<id>_<secret>).
func APIKeys(keys Keys) Authenticator { return apiKeys{keys} }

// Authenticate is part of Authenticator.
func (a apiKeys) Authenticate(r *http.Request) (Principal, error) {
	t, err := token(r)
	if err != nil {
		return Principal{}, err
	}
	if !strings.HasPrefix(t, ops.KeyPrefix) {
		return Principal{}, ErrNoCredentials
	}
	id, hash, ok := ops.ParseKey(t)
	if !ok {
		return Principal{}, invalid("the API key is not written like one (msk_<id>_<secret>): was all of it copied?")
	}
	// An unknown id is compared as well, so that it takes as long as a wrong secret.
	k, known := a.keys.Lookup(id)
	if same := subtle.ConstantTimeCompare([]byte(hash), []byte(k.Hash)) == 1; !known || !same {
		return Principal{}, invalid("the API key is not known")
	}
	if state := k.State(time.Now()); state != ops.KeyGood {
		return Principal{}, invalid("the API key is %s", state)
	}
	return Principal{Name: k.Name, Role: Role(k.Role), Scopes: k.Scopes, Method: "key"}, nil
}
