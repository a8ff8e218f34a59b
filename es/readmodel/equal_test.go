package readmodel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// holding is a model with a table of its own content and nothing applied.
func holding(t *testing.T, rows ...string) *readmodel.Model {
	t.Helper()
	schema := `CREATE TABLE things (kind TEXT, n INTEGER, "some note" TEXT, weight REAL, raw BLOB, PRIMARY KEY (n, kind));
		CREATE TABLE loose (a, b);`
	for _, row := range rows {
		schema += "INSERT INTO " + row + ";"
	}
	// The schema's text is part of the file's name, not of what is compared.
	return open(t, t.TempDir(), es.Projector{Name: "things", Version: 1, Schema: schema, Apply: sums().Apply, Interest: sums().Interest})
}

func TestEqualSaysByKeyWhatDiffers(t *testing.T) {
	t.Parallel()
	const a, b, c = `things VALUES ('x', 1, 'one', 1.5, x'01')`, `things VALUES ('x', 2, NULL, 2, NULL)`, `things VALUES ('é"', 10, 'ten', 0, NULL)`
	for name, test := range map[string]struct{ left, right, want []string }{
		"nothing, in another order": {[]string{a, b, c}, []string{c, b, a}, nil},
		"two columns":               {[]string{a, b}, []string{a, `things VALUES ('x', 2, 'two', 2.5, NULL)`}, []string{`table things, n 2, kind "x": some note NULL against "two", weight 2 against 2.5`}},
		"bytes":                     {[]string{a}, []string{`things VALUES ('x', 1, 'one', 1.5, x'0102')`}, []string{`table things, n 1, kind "x": raw x'01' against x'0102'`}},
		"a text is no number":       {[]string{`loose VALUES (1, 'p')`}, []string{`loose VALUES ('1', 'p')`}, []string{`table loose, a 1, b "p": one against no such row`, `table loose, a "1", b "p": no such row against one`}},
		"missing in the middle": {[]string{a, c}, []string{a, b, c},
			[]string{`table things, n 2, kind "x": no such row against some note NULL, weight 2, raw NULL`}},
		"one too many, and the end": {[]string{a, b, c}, []string{b}, []string{
			`table things, n 1, kind "x": some note "one", weight 1.5, raw x'01' against no such row`,
			`table things, n 10, kind "é\"": some note "ten", weight 0, raw NULL against no such row`,
		}},
		"the same row twice":        {[]string{`loose VALUES (1, 2), (1, 2)`}, []string{`loose VALUES (1, 2)`}, []string{`table loose, a 1, b 2: one against no such row`}},
		"both tables":               {[]string{a, `loose VALUES (NULL, 1)`}, nil, []string{`table loose, a NULL, b 1: one against no such row`, `table things, n 1, kind "x": some note "one", weight 1.5, raw x'01' against no such row`}},
		"a long text, cut in lines": {[]string{`things VALUES ('x', 1, '` + strings.Repeat("ü", 200) + `', 0, NULL)`}, []string{`things VALUES ('x', 1, '', 0, NULL)`}, []string{`table things, n 1, kind "x": some note "` + strings.Repeat("ü", 120) + `…" against ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			diff, err := readmodel.Equal(t.Context(), holding(t, test.left...), holding(t, test.right...))
			if want := strings.Join(test.want, "\n"); err != nil || diff != want {
				t.Errorf("got %v\n%s\nwant\n%s", err, diff, want)
			}
		})
	}
}

func TestEqualCountsWhatItDoesNotShow(t *testing.T) {
	t.Parallel()
	var rows []string
	for n := range 25 {
		rows = append(rows, fmt.Sprintf(`things VALUES ('x', %d, 'note', 0, NULL)`, n))
	}
	diff, err := readmodel.Equal(t.Context(), holding(t, rows...), holding(t))
	lines := strings.Split(diff, "\n")
	if err != nil || len(lines) != 21 || lines[20] != "and 5 rows more" || !strings.HasPrefix(lines[19], `table things, n 19, `) {
		t.Errorf("%v, %d lines:\n%s", err, len(lines), diff)
	}
}
