package access

import (
	"errors"
	"net/http"

	"github.com/millstream-es/millstream/es/runtime"
)

type chain []Authenticator

// Chain asks one authenticator after the other until one knows the credentials; a token that was offered as a
// WebSocket's subprotocol is taken out then. All of its errors but those of the
// machinery are *UnauthenticatedError.
func Chain(of ...Authenticator) Authenticator { return chain(of) }

// Authenticate is part of Authenticator.
func (c chain) Authenticate(r *http.Request) (Principal, error) {
	for _, a := range c {
		p, err := a.Authenticate(r)
		if errors.Is(err, ErrNoCredentials) {
			continue
		}
		if err != nil {
			return Principal{}, err
		}
		withoutToken(r.Header)
		return p, checkName(p.Name)
	}
	if _, err := token(r); err == nil {
		return Principal{}, invalid("credentials of this kind are not taken here")
	}
	return Principal{}, ErrNoCredentials
}

// checkName refuses names that could not be told from others in the log.
func checkName(name string) error {
	if err := runtime.CheckUser(name); err != nil {
		return invalid("the caller cannot be called so: %v", err)
	}
	return nil
}

type dev struct{}

// Dev believes the User-Id header and makes everyone an admin. It is for loopback only.
func Dev() Authenticator { return dev{} }

// Authenticate is part of Authenticator.
func (dev) Authenticate(r *http.Request) (Principal, error) {
	name := r.Header.Get(runtime.HeaderUser)
	if name == "" {
		name = "dev"
	}
	return Principal{Name: name, Role: Admin, Method: "dev"}, nil
}
