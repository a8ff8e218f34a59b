package cli

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/sagas"
)

// wholeDomain has what examples name.
func wholeDomain() es.Domain {
	d := servedDomain()
	d.Sagas = sagas.All
	return d
}

// verbs are all that can be run, each with its parser.
func verbs(t *testing.T) (*kong.Kong, []*kong.Node) {
	t.Helper()
	a := &app{domain: wholeDomain()}
	parser, err := a.parser(t.Context(), &Config{}, a.settings())
	if err != nil {
		t.Fatal(err)
	}
	return parser, parser.Model.Leaves(true)
}

// shownExamples are the commands that a verb's help shows.
func shownExamples(n *kong.Node) []string {
	var found []string
	for line := range strings.SplitSeq(n.Detail, "\n") {
		line = strings.TrimPrefix(strings.TrimSpace(line), "Example: ")
		if strings.HasPrefix(line, "millstream ") {
			found = append(found, line)
		}
	}
	return found
}

// arguments are the words of an example behind the program's name, up to what is the shell's own.
func arguments(line string) []string {
	var args []string
	for _, w := range word.FindAllString(line, -1)[1:] {
		if w == ">" || w == "|" || w == "#" || w == "&&" {
			break
		}
		args = append(args, strings.Trim(w, `'"`))
	}
	return args
}

// word is one of a shell's words, quoted or not.
var word = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)

func TestEveryVerbShowsAnExampleThatItTakes(t *testing.T) {
	t.Parallel()
	parser, all := verbs(t)
	if len(all) < 45 {
		t.Fatalf("there are only %d verbs", len(all))
	}
	for _, verb := range all {
		path := verbName(parser.Model, verb)
		own := false
		for _, line := range shownExamples(verb) {
			selected, err := parser.Parse(arguments(line))
			if err != nil && !strings.Contains(err.Error(), "no such file") {
				t.Errorf("%s: its example %q is refused: %v", path, line, err)
				continue
			}
			own = own || err != nil || selected.Selected() == verb
		}
		if !own {
			t.Errorf("%s shows no example of itself", path)
		}
	}
	for path := range examples {
		if !slices.ContainsFunc(all, func(n *kong.Node) bool { return verbName(parser.Model, n) == path }) {
			t.Errorf("there is an example of %s, which is no verb", path)
		}
	}
}

func TestEveryVerbSpeaksJSON(t *testing.T) {
	t.Parallel()
	parser, all := verbs(t)
	for _, verb := range all {
		path := verbName(parser.Model, verb)
		has := slices.ContainsFunc(verb.Flags, func(f *kong.Flag) bool { return f.Name == "json" })
		if has == (path == "completion") { // whose answer is for a shell
			t.Errorf("%s: --json is there: %t", path, has)
		}
	}
}

// destroys are the verbs that ask before something is gone. Whoever adds one writes it down here.
var destroys = []string{"import", "projections rebuild", "projections resume", "projections rollback", "deadletters drop",
	"keys revoke", "sagas cancel", "snapshots drop", "schema accept"}

func TestWhatDestroysAsksAndCanBeTriedDry(t *testing.T) {
	t.Parallel()
	parser, all := verbs(t)
	seen := 0
	for _, verb := range all {
		path := verbName(parser.Model, verb)
		flag := func(name string) bool {
			return slices.ContainsFunc(verb.Flags, func(f *kong.Flag) bool { return f.Name == name })
		}
		if slices.Contains(destroys, path) {
			seen++
			if !flag("yes") || !flag("dry-run") {
				t.Errorf("%s: --yes %t, --dry-run %t", path, flag("yes"), flag("dry-run"))
			}
		} else if flag("yes") {
			t.Errorf("%s has --yes: is it among those that destroy?", path)
		}
	}
	if seen != len(destroys) {
		t.Errorf("%d of %v are verbs", seen, destroys)
	}
}

// runs returns the exit code of a command line, and what it printed.
func runs(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, faults strings.Builder
	a := &app{domain: wholeDomain(), stdin: strings.NewReader(""), stdout: &out, stderr: &faults}
	code = a.run(t.Context(), args)
	return code, out.String(), faults.String()
}

// offline are the verbs that take --server and need none for their example, or wait for it to come.
var offline = []string{"serve", "import", "project", "schema check", "schema accept", "doctor", "config check", "config print"}

func TestEveryVerbEndsWithTheDocumentedCode(t *testing.T) {
	t.Parallel()
	parser, all := verbs(t)
	asked := 0
	for _, verb := range all {
		path := verbName(parser.Model, verb)
		t.Run(path, func(t *testing.T) {
			words := strings.Fields(path)
			if code, stdout, stderr := runs(t, append(words, "--help")...); code != exitOK || !strings.Contains(stdout, "Usage: millstream "+path) || stderr != "" {
				t.Errorf("--help: %d, %q", code, stderr)
			}
			passesOn := strings.HasPrefix(path, "config ") // flags of another verb
			if code, stdout, stderr := runs(t, append(words, "--no-such-flag")...); code == exitOK || code != exitUsage && !passesOn || stdout != "" && !passesOn || stderr == "" && !passesOn {
				t.Errorf("an unknown flag: %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			takes := func(name string) bool {
				return slices.ContainsFunc(verb.Flags, func(f *kong.Flag) bool { return f.Name == name })
			}
			if !takes("server") || slices.Contains(offline, path) {
				return
			}
			for _, line := range shownExamples(verb) {
				args := slices.DeleteFunc(arguments(line), func(w string) bool { return w == "--dry-run" || strings.HasPrefix(w, "@") })
				if len(args) < len(words) || !slices.Equal(args[:len(words)], words) || slices.ContainsFunc(args, func(w string) bool { return w == "--data" && path == "fsck" }) {
					continue
				}
				asked++
				args = append(args, "--server", "nats://127.0.0.1:1")
				if takes("yes") {
					args = append(args, "--yes")
				}
				if code, stdout, stderr := runs(t, args...); code != exitUnavailable || stdout != "" || !strings.Contains(stderr, "nats://127.0.0.1:1") {
					t.Errorf("%v, and nobody is there: %d, stdout %q, stderr %q", args, code, stdout, stderr)
				}
			}
		})
	}
	if asked < 25 {
		t.Errorf("only %d verbs were run", asked)
	}
}
