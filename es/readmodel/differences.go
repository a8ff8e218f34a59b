package readmodel

import (
	"fmt"
	"slices"
	"strings"
)

// shownDifferences is how many rows Equal names; the others it counts.
const shownDifferences = 20

// differences are what Equal has found.
type differences struct {
	found int
	lines []string
}

// add takes in a row that is not the same on both sides; nil: there is none on that side.
func (d *differences) add(t table, l, r []any) {
	if d.found++; d.found > shownDifferences {
		return
	}
	row := l
	if l == nil {
		row = r
	}
	names := make([]string, len(t.key))
	for i, k := range t.key {
		names[i] = t.columns[k] + " " + shown(row[k])
	}
	line := t.name + ", " + strings.Join(names, ", ") + ": "
	switch {
	case l == nil:
		line += "no such row against " + t.others(r)
	case r == nil:
		line += t.others(l) + " against no such row"
	default:
		var changed []string
		for i, c := range t.columns {
			if !same(l[i], r[i]) {
				changed = append(changed, fmt.Sprintf("%s %s against %s", c, shown(l[i]), shown(r[i])))
			}
		}
		line += strings.Join(changed, ", ")
	}
	d.lines = append(d.lines, line)
}

// others shows the columns of a row that are not in its key.
func (t table) others(row []any) string {
	var values []string
	for i, c := range t.columns {
		if !slices.Contains(t.key, i) {
			values = append(values, c+" "+shown(row[i]))
		}
	}
	if values == nil {
		return "one"
	}
	return strings.Join(values, ", ")
}

// shown is a value in a line: texts in quotes, cut where they are long.
func shown(v any) string {
	const most = 120
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		if cut := []rune(v); len(cut) > most {
			v = string(cut[:most]) + "…"
		}
		return fmt.Sprintf("%q", v)
	case []byte:
		if len(v) > most/2 {
			return fmt.Sprintf("x'%x…'", v[:most/2])
		}
		return fmt.Sprintf("x'%x'", v)
	default:
		return fmt.Sprint(v)
	}
}

// String is one row a line.
func (d *differences) String() string {
	lines := d.lines
	if more := d.found - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d rows more", more))
	}
	return strings.Join(lines, "\n")
}
