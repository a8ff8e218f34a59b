// Command library lends e-books: one aggregate, one saga and one read model on Millstream's engine, with every door
// of its command line. Try: go run . (then nats req call.help ”)
package main

import (
	"context"
	"time"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/cli"
	"github.com/millstream-es/millstream/es"
)

// Books is the aggregate of one book, whose id is the stream's. Facts and wishes are unions that no other type joins,
// so that a command to the wrong aggregate does not compile.
var Books = es.Define[Book]("book", LendBook{}, ReturnBook{})

type (
	BookEvent interface {
		es.Event
		bookEvent()
	}
	BookCommand interface {
		es.Command
		bookCommand()
	}
	BookLent struct {
		Reader string `json:"reader" jsonschema:"minLength=1,example=ada"`
	}
	BookReturned BookLent
	LendBook     BookLent // a wish carries here what its fact will say
	ReturnBook   BookLent
)

// The names on the wire. They never change.

func (BookLent) EventType() string     { return "BookLent" }
func (BookReturned) EventType() string { return "BookReturned" }
func (LendBook) CommandType() string   { return "LendBook" }
func (ReturnBook) CommandType() string { return "ReturnBook" }

func (BookLent) bookEvent()     {}
func (BookReturned) bookEvent() {}
func (LendBook) bookCommand()   {}
func (ReturnBook) bookCommand() {}

// ErrLent refuses a book that another reader has.
var ErrLent = es.Rejected("book_lent", "somebody else is reading the book")

// Book remembers who reads it. The zero value is a book that nobody has taken out yet.
type Book struct {
	Reader string `json:"reader"`
}

// Decide says what a command leads to. No events and no error: it is already so.
func (b Book) Decide(command BookCommand, _ es.Meta) ([]BookEvent, error) {
	switch c := command.(type) {
	case LendBook:
		if b.Reader == "" {
			return []BookEvent{BookLent(c)}, nil
		}
		if b.Reader != c.Reader {
			return nil, ErrLent.With("%s is reading the book", b.Reader)
		}
	case ReturnBook:
		if b.Reader == c.Reader {
			return []BookEvent{BookReturned(c)}, nil
		}
	}
	return nil, nil
}

// Evolve returns the book after a fact.
func (b Book) Evolve(event BookEvent) Book {
	lent, _ := event.(BookLent) // else it was returned, and nobody has it
	return Book{Reader: lent.Reader}
}

// everything is what the saga and the projector handle; an event in neither Handles nor Ignores is a fault at start.
var everything = es.Interest{Handles: []es.Event{BookLent{}, BookReturned{}}}

// Loans is the saga that ends a loan when its time is over. Its key is the book.
var Loans = es.DefineSaga[Loan]("loan", everything, func(r es.Recorded) (string, bool) { return r.Stream.ID, true })

// Loan remembers who has the book, so that a late timer takes it from nobody else.
type Loan struct {
	Book   string `json:"book"`
	Reader string `json:"reader"`
}

// React takes in a fact, a timer or the outcome of a command it sent, and says what is to be done.
func (l Loan) React(r es.Recorded) (Loan, []es.Effect) {
	switch e := r.Event.(type) {
	case BookLent:
		return Loan{r.Stream.ID, e.Reader}, []es.Effect{es.After{Name: "over", Delay: 14 * 24 * time.Hour}}
	case es.Woken:
		return l, []es.Effect{Books.To(l.Book, ReturnBook{l.Reader})}
	}
	return l, []es.Effect{es.Done{}}
}

// Shelves is the read model: who reads what.
var Shelves = es.Projector{
	Name: "shelves", Version: 1, Interest: everything,
	Schema: `CREATE TABLE loans (book TEXT PRIMARY KEY, reader TEXT NOT NULL) STRICT`,
	Apply: func(ctx context.Context, tx es.Tx, r es.Recorded) (err error) {
		switch e := r.Event.(type) {
		case BookLent:
			_, err = tx.ExecContext(ctx, `INSERT INTO loans (book, reader) VALUES (?, ?)`, r.Stream.ID, e.Reader)
		case BookReturned:
			_, err = tx.ExecContext(ctx, `DELETE FROM loans WHERE book = ?`, r.Stream.ID)
		}
		return err
	},
}

// Reader is the question, Shelf the answer.
type (
	Reader struct {
		Reader string `json:"reader"`
	}
	Shelf struct {
		Books int `json:"books"`
	}
)

// ShelfOf answers GET /shelves/ada.
var ShelfOf = es.Query[Reader, Shelf]{
	Name: "shelf", Path: "/shelves/{reader}", Summary: "How many books a reader has", Projector: "shelves",
	Ask: func(ctx context.Context, db es.Reader, p Reader) (s Shelf, err error) {
		err = db.QueryRowContext(ctx, `SELECT count(*) FROM loans WHERE reader = ?`, p.Reader).Scan(&s.Books)
		return s, err
	},
}

var library = es.Domain{
	Name: "library", Events: []es.EventDef{es.EventOf[BookLent](1), es.EventOf[BookReturned](1)},
	Aggregates: []es.Aggregate{Books}, Sagas: []es.Saga{Loans},
	Projectors: []es.Projector{Shelves}, Queries: []es.QueryDef{ShelfOf},
}

func main() { cli.Main(library, millstream.NATSConf) }
