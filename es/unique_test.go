package es_test

import (
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
)

func TestUniqueValuesHaveOneOwner(t *testing.T) {
	t.Parallel()
	emails := es.DefineUnique("email", strings.ToLower)
	reserved := es.ValueReserved{Owner: "ada"}
	reserve, release := es.ReserveValue{Owner: "ada"}, es.ReleaseValue{Owner: "ada"}
	estest.For(t, emails.AggregateOf).When(reserve).Then(reserved)
	estest.For(t, emails.AggregateOf).Given(reserved).When(reserve).ThenUnchanged()
	estest.For(t, emails.AggregateOf).Given(reserved).When(es.ReserveValue{Owner: "eve"}).ThenRejected(es.ErrTaken)
	estest.For(t, emails.AggregateOf).Given(reserved).When(es.ReleaseValue{Owner: "eve"}).ThenUnchanged()
	estest.For(t, emails.AggregateOf).Given(reserved).When(release).Then(es.ValueReleased{Owner: "ada"})
	estest.For(t, emails.AggregateOf).When(release).ThenUnchanged()
	estest.For(t, emails.AggregateOf).Given(reserved, es.ValueReleased{Owner: "ada"}).When(es.ReserveValue{Owner: "eve"}).Then(es.ValueReserved{Owner: "eve"})
}

func TestUniqueValuesMakeStreams(t *testing.T) {
	t.Parallel()
	emails, names, exact := es.DefineUnique("email", strings.ToLower), es.DefineUnique("name", strings.ToLower), es.DefineUnique("exact", nil)
	if emails.Of("Ada@Example.com") != emails.Of("ada@example.com") || exact.Of("Ada") == exact.Of("ada") {
		t.Error("a value's stream is that of its normal form")
	}
	if emails.Of("ada").ID == names.Of("ada").ID {
		t.Error("ids of different kinds of value can be told to be of the same value")
	}
	for _, value := range []string{"", "ä 🌍 > *", strings.Repeat("x", 10_000)} {
		s := emails.Of(value)
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		if send, ok := emails.Reserve(value, "ada").(es.Send); !ok || send.Stream != s || send.Command != (es.ReserveValue{Owner: "ada"}) {
			t.Errorf("reserved by %+v", send)
		}
	}
}
