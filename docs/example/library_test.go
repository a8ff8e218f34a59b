package main

import (
	"context"
	"testing"
	"time"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/runtime"
)

func TestABookHasOneReader(t *testing.T) {
	estest.For(t, Books).When(LendBook{"ada"}).Then(BookLent{"ada"}).And().When(LendBook{"bob"}).ThenRejected(ErrLent)
	estest.For(t, Books).Given(BookLent{"ada"}, BookReturned{"ada"}).When(ReturnBook{"ada"}).ThenUnchanged()
}

func TestALoanEndsByItself(t *testing.T) {
	lent, returned := estest.On(Books.Stream("b-1"), BookLent{"ada"}), estest.On(Books.Stream("b-1"), BookReturned{"ada"})
	estest.ForSaga(t, Loans).Given(lent).When(estest.Woken("over")).Then(Books.To("b-1", ReturnBook{"ada"}))
	estest.ForSaga(t, Loans).Given(lent).When(returned).Then(es.Done{})
}

func TestTheWholeLibrary(t *testing.T) {
	server := estest.StartServer(t, millstream.NATSConf)
	engine, err := runtime.Start(t.Context(), runtime.Config{
		Domain: library, DataDir: t.TempDir(), Delays: map[string]time.Duration{"loan.over": time.Millisecond},
		Connect: server.Connect,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	lent := engine.Execute(t.Context(), es.Request{Type: "LendBook", Data: []byte(`{"reader":"ada"}`), Meta: es.Meta{Stream: Books.Stream("b-1")}})
	if lent.Outcome != es.Accepted {
		t.Fatalf("LendBook: %+v", lent)
	}
	// The next revision is the saga's ReturnBook: asking for it waits until the read model shows it.
	shelf, _, err := engine.Ask(t.Context(), ShelfOf, Reader{"ada"}, lent.Revision+1)
	if err != nil || shelf != (Shelf{Books: 0}) {
		t.Fatalf("the shelf after the loan: %+v, %v", shelf, err)
	}
}
