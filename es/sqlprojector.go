package es

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// SQLProjector is ParseSQL for text that is part of the program; it panics on a fault, as an upcaster that is missing
// does. Faults that only SQLite finds are found when the model is opened.
func SQLProjector(name string, version int, text string, events []EventDef) Projector {
	p, err := ParseSQL(name+".sql", name, version, text, events)
	if err != nil {
		panic(err)
	}
	return p
}

// ParseSQL makes a projector of SQL text: CREATE statements, then for each event type that matters a comment line
// "-- on OrderCreated" (or several types, with commas) and the statements to run for it. What the event holds stands
// in them as $.data.totalAmount ($.data and a path into its JSON), $.stream.id, $.stream.category, $.type, $.time
// (UTC text of fixed width, which sorts), $.version, $.revision, $.id, $.user, $.correlation and $.causation. They are
// bound, never pasted: a whole number as INTEGER, any other number as its exact text, true as 1, an object or list as
// JSON text, what is missing as NULL. All other events are ignored. Any change to the text changes the Key.
//
// Permanent error: every fault, each with file, line and what is wrong.
func ParseSQL(file, name string, version int, text string, events []EventDef) (Projector, error) {
	s := &sqlProjector{file: file, on: map[string][]sqlStatement{}, events: map[string]EventDef{}}
	for _, e := range events {
		s.events[e.Type] = e
	}
	if err := s.parse(text); err != nil {
		return Projector{}, Permanent(err)
	}
	p := Projector{Name: name, Version: version, Apply: s.apply, Check: s.check}
	// The statements are no part of the schema, but of what makes another file necessary.
	p.Schema = fmt.Sprintf("-- statements %x\n", sha256.Sum256([]byte(text)))
	for _, c := range s.schema {
		p.Schema += c.text + "\n;\n" // on a line of its own: the text may end in a comment
	}
	for _, e := range events {
		event, ok := reflect.Zero(e.Go).Interface().(Event)
		switch {
		case !ok:
			return Projector{}, Permanent(fmt.Errorf("event %s: its Go type %s is no Event", e.Type, e.Go))
		case s.on[e.Type] != nil:
			p.Interest.Handles = append(p.Interest.Handles, event)
		default:
			p.Interest.Ignores = append(p.Interest.Ignores, event)
		}
	}
	return p, nil
}

type sqlProjector struct {
	file   string
	schema []sqlStatement
	on     map[string][]sqlStatement
	events map[string]EventDef
	faults []error
}

// sqlStatement is one statement with its values replaced by ?1, ?2 …
type sqlStatement struct {
	line   int
	text   string
	values []sqlPath
}

func (s *sqlProjector) fault(line int, format string, args ...any) {
	s.faults = append(s.faults, fmt.Errorf("%s:%d: %s", s.file, line, fmt.Sprintf(format, args...)))
}

func (s *sqlProjector) parse(text string) error {
	tokens, err := sqlScan(text)
	if err != nil {
		return fmt.Errorf("%s:%w", s.file, err)
	}
	next := func() (part []sqlToken) {
		n := slices.IndexFunc(tokens, func(t sqlToken) bool { return t.kind == sqlOn })
		if n < 0 {
			n = len(tokens)
		}
		part, tokens = tokens[:n], tokens[n:]
		return part
	}
	for _, statement := range sqlStatements(next()) {
		s.schema = append(s.schema, s.statement(statement, nil, "CREATE", "INSERT"))
	}
	for len(tokens) > 0 {
		on := tokens[0]
		tokens = tokens[1:]
		events := s.eventsOf(on)
		statements := sqlStatements(next())
		if len(statements) == 0 {
			s.fault(on.line, "on %s: no statement follows", on.text)
		}
		for _, statement := range statements {
			made := s.statement(statement, events, "INSERT", "REPLACE", "UPDATE", "DELETE", "WITH")
			for _, e := range events {
				s.on[e.Type] = append(s.on[e.Type], made)
			}
		}
	}
	if len(s.schema) == 0 {
		s.fault(1, "there is no CREATE TABLE before the first \"-- on EVENT\" line")
	}
	if len(s.on) == 0 && len(s.faults) == 0 {
		s.fault(1, "no line \"-- on EVENT\" says what to do with an event")
	}
	return errors.Join(s.faults...)
}

// eventsOf reads "OrderPaid, OrderShipped".
func (s *sqlProjector) eventsOf(on sqlToken) []EventDef {
	var found []EventDef
	for name := range strings.SplitSeq(on.text, ",") {
		name = strings.TrimSpace(name)
		def, ok := s.events[name]
		switch {
		case !ok:
			s.fault(on.line, "%s", unknownName("event type", name, slices.Sorted(maps.Keys(s.events))))
		case s.on[name] != nil:
			s.fault(on.line, "event type %s has statements already: put all of them below one line", name)
		default:
			found = append(found, def)
		}
	}
	return found
}

func unknownName(kind, name string, known []string) string {
	if near, ok := Closest(name, known); ok {
		return fmt.Sprintf("unknown %s %q: did you mean %s?", kind, clip(name), near)
	}
	return fmt.Sprintf("unknown %s %q: known are %s", kind, clip(name), strings.Join(known, ", "))
}

// What gives something else at every replay.
var sqlMoods = []string{"CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "RANDOM", "RANDOMBLOB"}

// statement checks one statement and binds its values. events are those it runs for; none: it is part of the schema.
func (s *sqlProjector) statement(tokens []sqlToken, events []EventDef, allowed ...string) sqlStatement {
	made := sqlStatement{line: tokens[0].line}
	if first := strings.ToUpper(tokens[0].text); !slices.Contains(allowed, first) {
		s.fault(made.line, "a statement here begins with %s, found %q", strings.Join(allowed, ", "), clip(tokens[0].text))
	}
	inSchema := allowed[0] == "CREATE"
	var text strings.Builder
	for _, t := range tokens {
		switch {
		case t.kind == sqlWord && slices.Contains(sqlMoods, strings.ToUpper(t.text)), t.kind == sqlQuoted && strings.EqualFold(t.text, "'now'"):
			s.fault(t.line, "%s gives something else at every replay: use $.time", t.text)
		case t.kind == sqlForeign:
			s.fault(t.line, "parameter %s: values are written like $.data.orderId or $.stream.id", t.text)
		case t.kind == sqlValue && inSchema:
			s.fault(t.line, "%s: values of events stand below a line \"-- on EVENT\" only", t.text)
		case strings.HasPrefix(strings.ToLower(strings.Trim(t.text, "\"`[")), "millstream_") && (t.kind == sqlWord || t.kind == sqlQuoted):
			s.fault(t.line, "names that begin with millstream_ are the engine's own, found %s", t.text)
		case t.kind == sqlValue:
			path, err := parseSQLPath(t.text, events)
			if err != nil {
				s.fault(t.line, "%v", err)
			}
			n := slices.IndexFunc(made.values, func(p sqlPath) bool { return p.text == t.text })
			if n < 0 {
				n = len(made.values)
				made.values = append(made.values, path)
			}
			fmt.Fprintf(&text, "?%d", n+1)
		default:
			text.WriteString(t.text)
		}
	}
	made.text = strings.TrimSpace(text.String())
	return made
}

func (s *sqlProjector) apply(ctx context.Context, tx Tx, r Recorded) error {
	e := sqlEvent{Recorded: r}
	for _, statement := range s.on[r.EventType()] {
		args := make([]any, len(statement.values))
		for i, v := range statement.values {
			var err error
			if args[i], err = v.of(&e); err != nil {
				return Permanent(fmt.Errorf("%s:%d: %s: %w", s.file, statement.line, v.text, err))
			}
		}
		if _, err := tx.ExecContext(ctx, statement.text, args...); err != nil {
			return fmt.Errorf("%s:%d: %w", s.file, statement.line, err)
		}
	}
	return nil
}

// check makes the tables and compiles every statement against them, and reports all that fail.
func (s *sqlProjector) check(ctx context.Context, tx Tx) error {
	var errs []error
	for _, c := range s.schema {
		if _, err := tx.ExecContext(ctx, c.text); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", s.file, c.line, err))
		}
	}
	if len(errs) > 0 {
		return Permanent(errors.Join(errs...))
	}
	checked := map[string]bool{} // one statement may stand for several events
	for _, name := range slices.Sorted(maps.Keys(s.on)) {
		for _, statement := range s.on[name] {
			if checked[statement.text] {
				continue
			}
			checked[statement.text] = true
			if err := explain(ctx, tx, statement.text, len(statement.values)); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %w", s.file, statement.line, err))
			}
		}
	}
	return Permanent(errors.Join(errs...))
}

// explain has a statement compiled against the schema, and not run.
func explain(ctx context.Context, tx Tx, text string, values int) error {
	rows, err := tx.QueryContext(ctx, "EXPLAIN "+text, make([]any, values)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return rows.Err()
}
