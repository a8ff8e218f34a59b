package cli

import (
	"strings"
	"testing"
)

// TestNoErrorShowsAPassword connects where nobody listens, with secrets in the address.
func TestNoErrorShowsAPassword(t *testing.T) {
	t.Parallel()
	for _, server := range []string{
		"nats://ada:lovelace@127.0.0.1:1", "ada:lovelace@127.0.0.1:1", "nats://lovelace@127.0.0.1:1", "lovelace@127.0.0.1:1",
		"nats://127.0.0.1:1, ada:lovelace@127.0.0.1:1", "nats://ada:lovelace%zz@127.0.0.1:1", "nats://ada:love lace@127.0.0.1:1", "nats://ada:lovelace@[::1",
	} {
		nc, err := clientFlags{Server: server}.connect("test")
		if err == nil {
			nc.Close()
			t.Fatalf("%s: somebody listens there", server)
		}
		if text := err.Error(); strings.Contains(text, "love") || !strings.Contains(text, "***") {
			t.Errorf("%s: %s", server, text)
		}
	}
}

func TestAddressesOfServersAreShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"nats://n1:4222,n2":                       "nats://n1:4222,n2",
		"ada:lovelace@n1:4222,nats://lovelace@n2": "nats://ada:***@n1:4222,nats://***@n2",
		"tls://ada@n1:4222":                       "tls://***@n1:4222",
	} {
		if got := serversShown(list); got != want {
			t.Errorf("%s: got %s, want %s", list, got, want)
		}
	}
}
