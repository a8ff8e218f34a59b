package commands

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"iter"
	"strings"
)

// IDMap maps ids to what an aggregate remembers of them and never changes: With returns another one. It shares almost
// all of itself with the old one (a treap: a search tree by id, a heap by a hash of it), since a product that sells
// well has tens of thousands of orders, and copying a map at each event would cost the square of them.
// The zero value is empty. In JSON it is an object.
type IDMap[V remembered] struct{ root *idNode[V] }

// remembered is a value whose zero means: nothing is known.
type remembered interface {
	comparable
	// JSONSchema describes the value's JSON form.
	JSONSchema() string
}

type idNode[V remembered] struct {
	id          string
	value       V
	left, right *idNode[V]
}

// Get returns what is remembered of an id, zero when nothing is.
func (m IDMap[V]) Get(id string) V {
	for n := m.root; n != nil; {
		switch c := strings.Compare(id, n.id); {
		case c == 0:
			return n.value
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	var nothing V
	return nothing
}

// With returns the map in which the id has this value.
func (m IDMap[V]) With(id string, value V) IDMap[V] { return IDMap[V]{m.root.with(id, value)} }

// All yields the values by id.
func (m IDMap[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { m.root.walk(yield) }
}

// MarshalJSON writes {"o-1":{…}}.
func (m IDMap[V]) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for id, v := range m.All() {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(id)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *IDMap[V]) UnmarshalJSON(data []byte) error {
	var all map[string]V
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*m = IDMap[V]{}
	for id, value := range all {
		*m = m.With(id, value)
	}
	return nil
}

// JSONSchema describes the JSON form.
func (IDMap[V]) JSONSchema() string {
	var v V
	return `{"type":"object","additionalProperties":` + v.JSONSchema() + `}`
}

// Equal compares contents, for packages that compare values by this method.
func (m IDMap[V]) Equal(other IDMap[V]) bool {
	next, stop := iter.Pull2(other.All())
	defer stop()
	for id, value := range m.All() {
		if o, v, ok := next(); !ok || o != id || v != value {
			return false
		}
	}
	_, _, more := next()
	return !more
}

func (n *idNode[V]) with(id string, value V) *idNode[V] {
	if n == nil {
		return &idNode[V]{id: id, value: value}
	}
	c := *n
	switch strings.Compare(id, n.id) {
	case 0:
		c.value = value
	case -1:
		// What comes back is a fresh copy, so turning it over changes nothing that others see.
		if c.left = n.left.with(id, value); c.left.above(n) {
			top := c.left
			c.left, top.right = top.right, &c
			return top
		}
	case 1:
		if c.right = n.right.with(id, value); c.right.above(n) {
			top := c.right
			c.right, top.left = top.left, &c
			return top
		}
	}
	return &c
}

func (n *idNode[V]) walk(yield func(string, V) bool) bool {
	return n == nil || n.left.walk(yield) && yield(n.id, n.value) && n.right.walk(yield)
}

// above says which of two stands nearer the root. The seed is secret, so that nobody can choose ids that make the tree
// a list; it shows in no result.
func (n *idNode[V]) above(m *idNode[V]) bool {
	return maphash.String(treeSeed, n.id) > maphash.String(treeSeed, m.id)
}

var treeSeed = maphash.MakeSeed()
