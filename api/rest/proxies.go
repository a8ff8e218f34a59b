package rest

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// What proxies in front say of a request.
const (
	headerForwardedFor   = "X-Forwarded-For"
	headerForwardedProto = "X-Forwarded-Proto"
)

// proxies are the networks of proxies in front, which are believed.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(a) })
}

// forwarded gives a request the address of its client in place of that of the proxies: the right-most one that is not
// theirs, since each adds the address it was called from, and what stands further left was written by anybody. From others
// than proxies these headers are taken away, so that whoever finds one may believe it. r is the caller's own copy.
func (p proxies) forwarded(r *http.Request) {
	client, ok := addrOf(r.RemoteAddr)
	if !ok || !p.trust(client) {
		r.Header.Del(headerForwardedFor)
		r.Header.Del(headerForwardedProto)
		return
	}
	hops := strings.Split(strings.Join(r.Header.Values(headerForwardedFor), ","), ",")
	for _, hop := range slices.Backward(hops) {
		before, ok := addrOf(strings.TrimSpace(hop))
		if !ok {
			break // the proxy that passed this on is all that is sure
		}
		if client = before; !p.trust(client) {
			break
		}
	}
	r.RemoteAddr = net.JoinHostPort(client.String(), "0")
}

// addrOf reads an address, with or without a port.
func addrOf(text string) (netip.Addr, bool) {
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap().WithZone(""), err == nil
}
