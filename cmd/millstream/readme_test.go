package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// TestReadmeTour types what README.md's tour shows into a shell, against a node of its own, and holds the answers
// against those shown: every field must be there and equal, but for "…".
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nats"); err != nil {
		const how = "the tour needs the nats CLI: go install -C tools github.com/nats-io/natscli/nats"
		if os.Getenv("CI") != "" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	_, tour, found := strings.Cut(readText(t, filepath.Join(root, "README.md")), "\n## Five minutes\n")
	if !found {
		t.Fatal(`README.md has no section "Five minutes"`)
	}
	tour, _, _ = strings.Cut(tour, "\n## ")
	node := dev(t, t.TempDir())
	shell := &shell{home: t.TempDir(), node: node}
	blocks, ran, compared := fences(tour), 0, 0
	for i, b := range blocks {
		if b.language != "sh" {
			continue
		}
		ran++
		if strings.HasPrefix(b.text, "nats sub ") {
			shell.watch(t, b.text)
			continue
		}
		shown := fence{}
		if i+1 < len(blocks) && blocks[i+1].language != "sh" {
			shown = blocks[i+1]
			compared++
		}
		once := func() error {
			said, err := shell.run(b.text)
			return errors.Join(err, shown.matches(said))
		}
		var err error
		if onlyReads(b.text) {
			err = eventually(patience, once)
		} else {
			err = once()
		}
		if err != nil {
			t.Fatalf("%s\n%v", b.text, err)
		}
	}
	if ran < 10 || compared < 8 {
		t.Errorf("%d blocks of the tour were run and %d compared: README.md is no longer read as it was", ran, compared)
	}
	err := eventually(patience, func() error {
		if seen := shell.watched.String(); !strings.Contains(seen, "events.order.o-1") {
			return fmt.Errorf("nats sub has not shown the order's events: %s", seen)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCodeInTheDocumentsIsTested finds every piece of Go of the documents in a source file, letter by letter; a line
// "// …" leaves something out.
func TestCodeInTheDocumentsIsTested(t *testing.T) {
	t.Parallel()
	var sources []string
	for _, file := range files(t, ".go") {
		sources = append(sources, readText(t, file))
	}
	pieces := 0
	for _, file := range files(t, ".md") {
		for _, b := range fences(readText(t, file)) {
			if b.language != "go" {
				continue
			}
			for piece := range strings.SplitSeq(b.text, "// …\n") {
				pieces++
				if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, piece) }) {
					t.Errorf("%s: no source file has\n%s", file, piece)
				}
			}
		}
	}
	if pieces == 0 {
		t.Error("the documents show no Go")
	}
}

var link = regexp.MustCompile(`\]\(([^)#:"\s]+)(#[^)]*)?\)`)

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, file := range files(t, ".md") {
		for _, found := range link.FindAllStringSubmatch(readText(t, file), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), found[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// TestTheExampleStaysSmall counts lines of code: neither blank nor comment.
func TestTheExampleStaysSmall(t *testing.T) {
	t.Parallel()
	const most = 150
	lines := 0
	for _, file := range files(t, ".go") {
		if filepath.Base(filepath.Dir(file)) != "example" {
			continue
		}
		for line := range strings.Lines(readText(t, file)) {
			if code := strings.TrimSpace(line); code != "" && !strings.HasPrefix(code, "//") {
				lines++
			}
		}
	}
	if lines == 0 || lines >= most {
		t.Errorf("docs/example has %d lines of code, README.md says less than %d", lines, most)
	}
}

// shell is where the tour is typed.
type shell struct {
	home    string
	node    *process
	watched *transcript
}

func (s *shell) command(text string) *exec.Cmd {
	cmd := exec.Command("sh", "-ec", strings.ReplaceAll(text, "localhost:8080", strings.TrimPrefix(s.node.HTTP, "http://")))
	cmd.Env = append(os.Environ(), "HOME="+s.home, "XDG_CONFIG_HOME="+s.home, "NO_COLOR=1", "NATS_URL="+s.node.NATS)
	return cmd
}

// run returns standard output.
func (s *shell) run(text string) (string, error) {
	var out, errs strings.Builder
	cmd := s.command(text)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s%s", err, out.String(), errs.String())
	}
	return out.String(), nil
}

// watch leaves a command running until the test ends, and waits until it is subscribed.
func (s *shell) watch(t *testing.T, text string) {
	t.Helper()
	s.watched = &transcript{}
	cmd := s.command("exec " + text)
	cmd.Stdout, cmd.Stderr = s.watched, s.watched
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed, and says so
	})
	err := eventually(patience, func() error {
		if !strings.Contains(s.watched.String(), "Subscribing on") {
			return errors.New("nats sub has not begun")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// onlyReads reports whether typing it again changes nothing.
func onlyReads(text string) bool {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "curl -s ") && !strings.HasPrefix(line, "nats stream get ") {
			return false
		}
	}
	return true
}

// fence is a piece of code in a document.
type fence struct{ language, text string }

func fences(text string) []fence {
	var all []fence
	for i, part := range strings.Split("\n"+text, "\n```") {
		if i%2 == 1 {
			language, body, _ := strings.Cut(part, "\n")
			all = append(all, fence{language, body + "\n"})
		}
	}
	return all
}

// matches compares what was said with what is shown.
func (f fence) matches(said string) error {
	switch f.language {
	case "json":
		shown, err := jsonValues(f.text)
		if err != nil {
			return fmt.Errorf("the README's own JSON: %w", err)
		}
		got, err := jsonValues(said)
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return differ("", shown, got)
	case "text":
		for line := range strings.Lines(f.text) {
			want, _, _ := strings.Cut(strings.TrimSpace(line), "…")
			if !strings.Contains(said, want) {
				return fmt.Errorf("%q is not in %s", want, said)
			}
		}
	}
	return nil
}

func jsonValues(text string) ([]any, error) {
	var all []any
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
}

// differ says where a value is not what is shown. Fields that are not shown do not matter.
func differ(at string, shown, got any) error {
	switch s := shown.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: want an object, got %v", at, got)
		}
		for name, value := range s {
			if err := differ(at+"/"+name, value, object[name]); err != nil {
				return err
			}
		}
		return nil
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(s) {
			return fmt.Errorf("%s: want %d values, got %v", at, len(s), got)
		}
		for i := range s {
			if err := differ(fmt.Sprintf("%s/%d", at, i), s[i], list[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if strings.HasSuffix(at, "/revision") && got != nil {
		return nil // sagas work at the same time: whose commit comes first differs from run to run
	}
	if shown != got && shown != "…" {
		return fmt.Errorf("%s: want %v, got %v", at, shown, got)
	}
	return nil
}

// files lists the repository's files with an extension.
func files(t *testing.T, extension string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "data") {
			return fs.SkipDir
		}
		if !d.IsDir() && filepath.Ext(path) == extension {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func readText(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
