package natsstore

import (
	"net/url"

	"github.com/nats-io/nats.go"
)

// ConnectedTo is the address of the server that a connection leads to, fit to be shown: without the user, password or
// token that may stand in it (the client library takes away the password alone). "": it leads to none.
func ConnectedTo(nc *nats.Conn) string {
	u, err := url.Parse(nc.ConnectedUrl())
	if err != nil {
		return nc.ConnectedAddr()
	}
	u.User = nil
	return u.String()
}
