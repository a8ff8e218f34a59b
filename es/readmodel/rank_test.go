package readmodel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// texts keeps a full text of each number: how often a word stands in it, and how much else.
func texts() es.Projector {
	p := sums()
	p.Name, p.Schema = "texts", `CREATE VIRTUAL TABLE texts USING fts4 (title, body, tokenize=unicode61)`
	p.Apply = func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		n := int(r.Event.(added).N)
		_, err := tx.ExecContext(ctx, `INSERT INTO texts (docid, title, body) VALUES (?, ?, ?)`, n, fmt.Sprint("mill ", n), strings.Repeat("stream ", n%5)+strings.Repeat("filler ", 20))
		return err
	}
	return p
}

func TestBM25(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), texts())
	apply(t, m, batch(1, 30))
	best := func(match, weights string) (ids string) {
		rows, err := m.DB().QueryContext(t.Context(), `SELECT docid FROM texts WHERE texts MATCH ?
			ORDER BY bm25(matchinfo(texts, 'pcnalx'), `+weights+`) DESC, docid LIMIT 3`, match)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			ids += id + " "
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for _, c := range []struct{ match, weights, want string }{
		{"stream", "1.0, 1.0", "4 9 14 "},      // where it stands most often
		{"stream OR 7", "1.0, 1.0", "7 4 9 "},  // a rare word says more than a frequent one
		{"stream OR 7", "0.0, 1.0", "4 9 14 "}, // in a column that does not count it says nothing
		{"filler", "1.0, 1.0", "5 10 15 "},     // where there is least beside it
		{"mill", "0.0, 0.0", "1 2 3 "},         // nothing counts
	} {
		if got := best(c.match, c.weights); got != c.want {
			t.Errorf("%s, weights %s: best are %s, want %s", c.match, c.weights, got, c.want)
		}
	}
}

func TestBM25SaysWhatItWants(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), texts())
	apply(t, m, batch(1, 3))
	for _, call := range []string{
		`bm25(matchinfo(texts), 1.0, 1.0)`, `bm25(matchinfo(texts, 'pcnalx'))`, `bm25(matchinfo(texts, 'pcnalx'), 1.0, 1.0, 1.0)`,
		`bm25(x'')`, `bm25(x'0100000001000000', 1.0)`, `bm25(x'ffffffffffffffffffffffff', 1.0)`,
	} {
		var score float64
		err := m.DB().QueryRowContext(t.Context(), `SELECT `+call+` FROM texts WHERE texts MATCH 'mill'`).Scan(&score)
		if err == nil || !strings.Contains(err.Error(), "bm25") {
			t.Errorf("%s: got %v, %v; want an error that names bm25", call, score, err)
		}
	}
}

// An index is cut into segments where transactions end; that is no difference.
func TestModelsWithTheSameTextsAreEqual(t *testing.T) {
	t.Parallel()
	one, many := open(t, t.TempDir(), texts()), open(t, t.TempDir(), texts())
	apply(t, one, batch(1, 20))
	for r := es.Revision(1); r <= 20; r++ {
		apply(t, many, batch(r, r))
	}
	if diff, err := readmodel.Equal(t.Context(), one, many); err != nil || diff != "" {
		t.Errorf("they differ: %s (%v)", diff, err)
	}
	apply(t, many, batch(21, 21))
	last := batch(21, 21)
	last.Events[0].Event = added{22}
	apply(t, one, last)
	if diff, err := readmodel.Equal(t.Context(), one, many); err != nil || !strings.Contains(diff, "texts") {
		t.Errorf("the difference is %q (%v), want one of the table texts", diff, err)
	}
}
