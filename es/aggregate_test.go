package es_test

import (
	"testing"

	"github.com/millstream-es/millstream/es"
)

type (
	lampEvent   interface{ es.Event }
	lampCommand interface {
		es.Command
		lamp()
	}
	lit       struct{}
	light     struct{}
	recordLit struct{}
	unlisted  struct{}
	lamp      struct{}
)

func (lit) EventType() string         { return "Lit" }
func (light) CommandType() string     { return "Light" }
func (light) lamp()                   {}
func (recordLit) CommandType() string { return "RecordLit" }
func (recordLit) lamp()               {}
func (unlisted) CommandType() string  { return "Unlisted" }
func (unlisted) lamp()                {}

func (l lamp) Decide(lampCommand, es.Meta) ([]lampEvent, error) { return []lampEvent{lit{}}, nil }
func (l lamp) Evolve(lampEvent) lamp                            { return l }

func TestCommandsThatAreForSagas(t *testing.T) {
	t.Parallel()
	for _, c := range es.Define[lamp]("lamp", light{}, recordLit{}).Internal(recordLit{}).Commands() {
		if c.Internal != (c.Type == "RecordLit") {
			t.Errorf("%s: internal is %v", c.Type, c.Internal)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a command that is not listed was marked")
		}
	}()
	es.Define[lamp]("lamp", light{}).Internal(unlisted{})
}
