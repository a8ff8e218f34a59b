package graphql

import (
	"maps"
	"slices"
	"sync"

	"github.com/millstream-es/millstream/es"
)

// siblings are things that one question brought. What one of them is asked for is asked for all of them at once, and
// only once: however many there are, it is one question to the read models.
type siblings[N any] struct {
	least es.Revision // what was demanded of the question that brought them, and is of those that follow
	all   []N

	mu    sync.Mutex
	asked map[any]func() (any, error)
}

// together makes siblings of the things that a question brought.
func together[T, N any](least es.Revision, found []T, node func(T, *siblings[N]) N) []N {
	s := &siblings[N]{least: least, all: make([]N, len(found)), asked: map[any]func() (any, error){}}
	for i, f := range found {
		s.all[i] = node(f, s)
	}
	return s.all
}

// gather makes siblings of all that a question brought for many, and returns each one's.
func gather[T, N any](least es.Revision, found map[string][]T, node func(T, *siblings[N]) N) map[string][]N {
	var all []T
	owners := slices.Sorted(maps.Keys(found))
	for _, owner := range owners {
		all = append(all, found[owner]...)
	}
	nodes := together(least, all, node)
	by := make(map[string][]N, len(found))
	for _, owner := range owners {
		n := len(found[owner])
		by[owner], nodes = nodes[:n:n], nodes[n:]
	}
	return by
}

// ids are what a function reads from the siblings, each once.
func (s *siblings[N]) ids(of func(N) string) []string {
	var ids []string
	seen := map[string]bool{}
	for _, n := range s.all {
		if id := of(n); id != "" && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// once asks what all siblings need, or returns what was answered before. what names the question with its parameters;
// it is comparable. Those who come while it is asked wait for it.
func once[N, A any](s *siblings[N], what any, ask func() (A, error)) (A, error) {
	s.mu.Lock()
	answer, asked := s.asked[what]
	if !asked {
		answer = sync.OnceValues(func() (any, error) { return ask() })
		s.asked[what] = answer
	}
	s.mu.Unlock()
	a, err := answer()
	if err != nil {
		var none A
		return none, err
	}
	return a.(A), nil
}
