package rest

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/millstream-es/millstream/es"
)

// knownCallers bounds how many callers are counted at once; those least seen are forgotten first.
const knownCallers = 10_000

// limiter lets each caller make so many requests a second, and twice as many at once.
type limiter struct {
	perSecond rate.Limit
	burst     int
	callers   *otter.Cache[string, *rate.Limiter]
}

func newLimiter(perSecond float64) *limiter {
	if perSecond < 0 {
		return nil
	}
	burst := max(1, int(2*perSecond))
	full := time.Duration(float64(burst) / perSecond * float64(time.Second))
	return &limiter{
		perSecond: rate.Limit(perSecond), burst: burst,
		callers: otter.Must(&otter.Options[string, *rate.Limiter]{
			MaximumSize:      knownCallers,
			ExpiryCalculator: otter.ExpiryAccessing[string, *rate.Limiter](max(full, time.Minute)), // who may do all again need not be remembered
		}),
	}
}

// take counts a request. left is how many more may come at once, wait when the next may.
func (l *limiter) take(caller string, now time.Time) (ok bool, left int, wait time.Duration) {
	bucket, _ := l.callers.ComputeIfAbsent(caller, func() (*rate.Limiter, bool) { return rate.NewLimiter(l.perSecond, l.burst), false })
	ok = bucket.AllowN(now, 1)
	tokens := bucket.TokensAt(now)
	missing := max(0, 1-tokens)
	return ok, int(max(0, tokens)), time.Duration(missing / float64(l.perSecond) * float64(time.Second))
}

// count tells the caller how many requests are left (draft-ietf-httpapi-ratelimit-headers) and refuses what is too many.
func (d *Door) count(w http.ResponseWriter, r *http.Request, caller string) bool {
	l := d.limits
	if l == nil {
		return true
	}
	ok, left, wait := l.take(caller, time.Now())
	full := math.Ceil(float64(l.burst-left) / float64(l.perSecond))
	w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"caller";q=%d;w=%d`, l.burst, int(math.Ceil(float64(l.burst)/float64(l.perSecond)))))
	w.Header().Set("RateLimit", fmt.Sprintf(`"caller";r=%d;t=%d`, left, int(full)))
	if ok {
		return true
	}
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	WriteProblem(w, r, l.refusal())
	return false
}

func (l *limiter) refusal() *es.Problem {
	return &es.Problem{Status: http.StatusTooManyRequests, Code: "rate_limited",
		Message: fmt.Sprintf("more than %g requests a second came from this caller: wait as long as Retry-After says, else a second", float64(l.perSecond))}
}

// addressOf tells callers apart who are not known: by address, for IPv6 by the network that one customer gets.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address, err := netip.ParseAddr(host)
	if err != nil || address.Unmap().Is4() {
		return host
	}
	network, err := address.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}
