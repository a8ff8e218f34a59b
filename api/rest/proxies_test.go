package rest_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
)

func TestClientsBehindAProxyAreToldApart(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for name, c := range map[string]struct {
		from      string
		forwarded []string
		client    string
	}{
		"a client comes directly":                          {"203.0.113.9:5", nil, "203.0.113.9"},
		"a client pretends to be forwarded":                {"203.0.113.9:5", []string{"198.51.100.1"}, "203.0.113.9"},
		"a client pretends to be the proxy":                {"203.0.113.9:5", []string{"10.0.0.1"}, "203.0.113.9"},
		"a proxy forwards":                                 {"10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		"a proxy appends to what a client wrote":           {"10.0.0.1:5", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		"a proxy adds a second header":                     {"10.0.0.1:5", []string{"1.1.1.1", "198.51.100.1"}, "198.51.100.1"},
		"two proxies":                                      {"10.0.0.1:5", []string{"1.1.1.1, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		"proxies all the way":                              {"10.0.0.1:5", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		"a proxy forwards nothing":                         {"10.0.0.1:5", nil, "10.0.0.1"},
		"a proxy forwards what is no address":              {"10.0.0.1:5", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		"an address behind what is none":                   {"10.0.0.1:5", []string{"unknown, 198.51.100.1"}, "198.51.100.1"},
		"with a port":                                      {"10.0.0.1:5", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		"IPv6 in brackets":                                 {"[2001:db8:1::1]:5", []string{"[2001:db8:9::7]:80"}, "2001:db8:9::7"},
		"an IPv4 proxy over IPv6":                          {"[::ffff:10.0.0.1]:5", []string{"198.51.100.1"}, "198.51.100.1"},
		"a client of IPv4 mapped into IPv6 is not another": {"10.0.0.1:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Seen", r.RemoteAddr) })
			h := newDoor(t, newEngine(t), rest.Options{Rate: 0.001, TrustedProxies: trusted, Authenticator: badge{},
				Mounts: []rest.Mount{{Method: "GET", Pattern: "/seen", Operation: access.Public, Handler: seen}}})
			ask := func(from string, forwarded ...string) *http.Response {
				r := httptest.NewRequest(http.MethodGet, "/seen", nil)
				r.RemoteAddr = from
				for _, f := range forwarded {
					r.Header.Add("X-Forwarded-For", f)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w.Result()
			}
			r := ask(c.from, c.forwarded...)
			seenAs, err := netip.ParseAddrPort(r.Header.Get("Seen"))
			if r.StatusCode != http.StatusOK || err != nil || seenAs.Addr() != netip.MustParseAddr(c.client) {
				t.Errorf("seen as %q, expected %s", r.Header.Get("Seen"), c.client)
			}
			// The one request that this client may make is made, whatever way it comes.
			if r := ask(netip.AddrPortFrom(netip.MustParseAddr(c.client), 80).String()); r.StatusCode != http.StatusTooManyRequests {
				t.Errorf("the client's second request: %d", r.StatusCode)
			}
			if r := ask("192.0.2.77:5"); r.StatusCode != http.StatusOK {
				t.Errorf("another client: %d", r.StatusCode)
			}
		})
	}
}

func TestOnlyProxiesSayThatARequestCameEncrypted(t *testing.T) {
	t.Parallel()
	seen := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen", r.Header.Get("X-Forwarded-Proto"))
	})
	mounts := []rest.Mount{{Method: "GET", Pattern: "/seen", Operation: access.Public, Handler: seen}}
	for _, c := range []struct {
		trusted []netip.Prefix
		want    string
	}{{nil, ""}, {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "https"}} { // httptest comes from 192.0.2.1
		h := newDoor(t, newEngine(t), rest.Options{TrustedProxies: c.trusted, Mounts: mounts})
		if got := call(t, h, http.MethodGet, "/seen", "", "X-Forwarded-Proto: https").Header.Get("Seen"); got != c.want {
			t.Errorf("trusting %v: %q", c.trusted, got)
		}
	}
}
