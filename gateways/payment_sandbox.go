package gateways

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/millstream-es/millstream/es"
)

// The sandbox's tokens.
const (
	tokenOK       = "tok_ok"
	tokenDeclined = "tok_declined"
	tokenTimeout  = "tok_timeout" // never answers
	tokenFlaky    = "tok_flaky"   // fails twice for each key
)

const (
	flakyFailures = 2
	flakyKeys     = 10_000 // remembered at most; beyond that all begin anew
)

// sandbox answers as a provider would, by the token alone. No money moves.
type sandbox struct {
	mu     sync.Mutex
	failed map[string]int // by key
}

func newSandbox() *sandbox { return &sandbox{failed: map[string]int{}} }

func (s *sandbox) charge(ctx context.Context, key string, c charge) (receipt, error) {
	switch c.Token {
	case tokenOK:
	case tokenDeclined:
		return receipt{declined: "card declined"}, nil
	case tokenTimeout:
		<-ctx.Done()
		return receipt{}, es.Transient(fmt.Errorf("the sandbox does not answer: %w", ctx.Err()))
	case tokenFlaky:
		if s.fails(key) {
			return receipt{}, es.Transient(errors.New("the sandbox is flaky: ask again"))
		}
	default:
		return receipt{declined: "unknown token"}, nil
	}
	return receipt{id: sandboxID("txn", key)}, nil
}

func (s *sandbox) refund(_ context.Context, key string, _ refund) (receipt, error) {
	return receipt{id: sandboxID("rfn", key)}, nil
}

func (s *sandbox) fails(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed[key] >= flakyFailures {
		return false
	}
	if len(s.failed) >= flakyKeys {
		clear(s.failed)
	}
	s.failed[key]++
	return true
}

// sandboxID makes the same id of the same key.
func sandboxID(kind, key string) string {
	sum := sha256.Sum256([]byte(key))
	return kind + "_" + hex.EncodeToString(sum[:8])
}
