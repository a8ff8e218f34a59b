package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/millstream-es/millstream/es"
)

// Difference is one thing in which a program's types differ from the stored ones.
type Difference struct {
	Subject  string `json:"subject"`      // "event OrderCreated v2", "command order/ShipOrder"
	Detail   string `json:"detail"`       // what differs, with the field's path
	Breaking bool   `json:"breaking"`     // the program cannot work with what the stored types let others write
	Do       string `json:"do,omitempty"` // how to mend a breaking one
}

func (d Difference) String() string {
	if d.Do == "" {
		return d.Subject + ": " + d.Detail
	}
	return d.Subject + ": " + d.Detail + "; " + d.Do
}

// What to do about a breaking difference.
const (
	doNewVersion = "raise its version and add an upcaster from the old type"
	doRunNewer   = "run the program that knows it, or put it back on the list: what is stored stays"
	doNewCommand = "keep taking what it took: make the field optional, or give the new command a name of its own"
)

// Compare tells in what a program's types differ from stored ones, in order of their names. New types, versions,
// commands and optional fields of commands break nothing; everything that is stored must be known as it is, but for
// a command, which may take more than it did.
func Compare(stored, program Document) []Difference {
	var all []Difference
	for _, typ := range union(stored.Events, program.Events) {
		before, now := stored.Events[typ], program.Events[typ]
		switch {
		case before == nil:
			all = append(all, Difference{Subject: "event " + typ, Detail: "is new"})
		case now == nil:
			all = append(all, Difference{"event " + typ, "is not known to this program", true, doRunNewer})
		default:
			all = append(all, compareVersions(typ, before, now)...)
		}
	}
	for _, category := range union(stored.Commands, program.Commands) {
		before, now := stored.Commands[category], program.Commands[category]
		for _, typ := range union(before, now) {
			all = append(all, compareCommand("command "+category+"/"+typ, before[typ], now[typ])...)
		}
	}
	return all
}

// Breaking is the permanent error of a program with breaking differences; nil without.
func Breaking(differences []Difference) error {
	var lines []string
	for _, d := range differences {
		if d.Breaking {
			lines = append(lines, d.String())
		}
	}
	if lines == nil {
		return nil
	}
	return es.Permanent(fmt.Errorf("this program's events and commands do not fit those that the log was written with:\n  %s", strings.Join(lines, "\n  ")))
}

func compareVersions(typ string, before, now map[int]json.RawMessage) []Difference {
	var all []Difference
	for _, v := range union(before, now) {
		subject := fmt.Sprintf("event %s v%d", typ, v)
		switch {
		case before[v] == nil:
			all = append(all, Difference{Subject: subject, Detail: "is new"})
		case now[v] == nil:
			newest := slices.Max(slices.Collect(maps.Keys(now)))
			all = append(all, Difference{subject, fmt.Sprintf("is newer than this program, whose newest is v%d", newest), true, doRunNewer})
		default:
			for _, c := range changes(before[v], now[v]) {
				all = append(all, Difference{subject, c.String(), true, doNewVersion})
			}
		}
	}
	return all
}

func compareCommand(subject string, before, now json.RawMessage) []Difference {
	switch {
	case before == nil:
		return []Difference{{Subject: subject, Detail: "is new"}}
	case now == nil:
		return []Difference{{subject, "is not known to this program", true, doRunNewer}}
	}
	var all []Difference
	for _, c := range changes(before, now) {
		d := Difference{Subject: subject, Detail: c.String(), Breaking: !c.looser}
		if d.Breaking {
			d.Do = doNewCommand
		}
		all = append(all, d)
	}
	return all
}

func union[K cmp.Ordered, V any](a, b map[K]V) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// change is one difference of two schemas.
type change struct {
	at     string // path of the field, such as /items/*/price; "" for the whole
	what   string
	looser bool // everything that fitted before fits now
}

func (c change) String() string {
	if c.at == "" {
		return c.what
	}
	return c.at + " " + c.what
}

// changes compares two schemas.
func changes(before, now json.RawMessage) []change {
	read := func(s json.RawMessage) any {
		if contract(&s) != nil {
			return string(s) // no JSON: compared as text
		}
		v, _ := parse(s) // contract has just written it
		return v
	}
	return compareSchemas("", read(before), read(now))
}

func compareSchemas(at string, before, now any) []change {
	a, okA := before.(map[string]any)
	b, okB := now.(map[string]any)
	if !okA || !okB {
		if text(before) == text(now) {
			return nil
		}
		return []change{{at, fmt.Sprintf("was %s, is now %s", text(before), text(now)), now == true || okB && len(b) == 0}}
	}
	var all []change
	for _, keyword := range union(a, b) {
		old, had := a[keyword]
		new, has := b[keyword]
		switch {
		case keyword == "properties":
			all = append(all, compareFields(at, old, new)...)
		case keyword == "required":
			all = append(all, compareRequired(at, old, new)...)
		case (keyword == "items" || keyword == "additionalProperties") && had && has:
			all = append(all, compareSchemas(at+"/*", old, new)...)
		case text(old) == text(new):
		case !has:
			all = append(all, change{at, fmt.Sprintf("%s was %s, is gone", keyword, text(old)), true})
		case !had:
			all = append(all, change{at, fmt.Sprintf("%s is now %s", keyword, text(new)), false})
		default:
			all = append(all, change{at, fmt.Sprintf("%s was %s, is now %s", keyword, text(old), text(new)), loosened(keyword, old, new)})
		}
	}
	return all
}

func compareFields(at string, before, now any) []change {
	a, _ := before.(map[string]any)
	b, _ := now.(map[string]any)
	var all []change
	for _, name := range union(a, b) {
		old, had := a[name]
		new, has := b[name]
		switch {
		case !had:
			all = append(all, change{at + "/" + name, "is new", true})
		case !has:
			all = append(all, change{at + "/" + name, "is gone", false})
		default:
			all = append(all, compareSchemas(at+"/"+name, old, new)...)
		}
	}
	return all
}

func compareRequired(at string, before, now any) []change {
	a, _ := before.([]any)
	b, _ := now.([]any)
	var all []change
	for _, name := range a {
		if !slices.Contains(b, name) {
			all = append(all, change{fmt.Sprintf("%s/%v", at, name), "need no longer be there", true})
		}
	}
	for _, name := range b {
		if !slices.Contains(a, name) {
			all = append(all, change{fmt.Sprintf("%s/%v", at, name), "must be there now", false})
		}
	}
	return all
}

// loosened reports whether a keyword's new value lets through all that the old one did.
func loosened(keyword string, before, now any) bool {
	switch keyword {
	case "minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties":
		return number(now) <= number(before)
	case "maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties":
		return number(now) >= number(before)
	case "enum":
		a, _ := before.([]any)
		b, _ := now.([]any)
		return !slices.ContainsFunc(a, func(v any) bool {
			return !slices.ContainsFunc(b, func(w any) bool { return text(v) == text(w) })
		})
	}
	return false
}

// number is a bound; what is none lets nothing pass for loosened.
func number(v any) float64 {
	if n, ok := v.(json.Number); ok {
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	return math.NaN()
}

func text(v any) string {
	t, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(t)
}
