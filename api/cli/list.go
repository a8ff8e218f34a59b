package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// limited bounds what a list verb shows.
type limited struct {
	Limit int `default:"100" help:"At most so many."`
}

func (l limited) check() error {
	if l.Limit < 1 {
		return usageError{fmt.Errorf("--limit must be above zero, not %d", l.Limit)}
	}
	return nil
}

// list is what a list verb prints.
type list struct {
	json any    // the body with --json
	head string // the columns' names, with commas between
	rows [][]any
	more string // how to see the rest, for standard error; "": that is all
}

// printList prints one line of JSON, or a table.
func (a *app) printList(l list, asJSON bool) error {
	if asJSON {
		return a.printJSON(l.json)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(l.head, ",", "\t"))
	for _, row := range l.rows {
		cells := each(row, func(cell any) string {
			if t, ok := cell.(time.Time); ok {
				return t.Local().Format(time.RFC3339)
			}
			return fmt.Sprint(cell)
		})
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if l.more != "" {
		fmt.Fprintln(a.stderr, l.more)
	}
	return nil
}
