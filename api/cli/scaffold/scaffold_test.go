package scaffold

import (
	"bytes"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The example of the documents is what a user gets, so that there is no second copy of it to go stale.
func TestTheExampleIsWhatIsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := (Module{Name: "library", Path: "example.com/library", Version: "0.1.0"}).Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"library.go", "library_test.go"} {
		if written, shown := read(t, filepath.Join(dir, file)), read(t, filepath.Join("../../../docs/example", file)); !bytes.Equal(written, shown) {
			t.Errorf("docs/example/%s is not what templates/%s becomes: make one like the other", file, strings.Replace(file, "library", "module", 1)+".tmpl")
		}
	}
}

// A module of another name builds, passes vet and its own tests, on this very engine and without a network.
func TestAWrittenModulePassesItsTests(t *testing.T) {
	t.Parallel()
	dir, root := filepath.Join(t.TempDir(), "shop"), absolute(t, "../../..")
	written, err := Module{Name: "bookshop2", Path: "example.com/shops/bookshop2", Version: "0.1.0", Replace: root}.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range written {
		if source := read(t, file); strings.HasSuffix(file, ".go") {
			if formatted, err := format.Source(source); err != nil || !bytes.Equal(source, formatted) {
				t.Errorf("%s is not as gofmt has it (%v)", file, err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), read(t, filepath.Join(root, "go.sum")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestFaultsOfAModule(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":          "expected small letters",
		"../up":     "expected small letters",
		"Book-Shop": "expected small letters",
		"func":      "means something in Go",
		"string":    "means something in Go",
		"context":   "used for something else",
		"server":    "used for something else",
		"main":      "used for something else",
	} {
		dir := filepath.Join(t.TempDir(), "new")
		_, err := Module{Name: name, Path: "not a path"}.Write(dir)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "not a path") {
			t.Errorf("name %q: expected %q and a word about the path, found %v", name, want, err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("name %q: something was written (%v)", name, err)
		}
	}
}

func TestADirectoryInUseIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Module{Name: "library", Path: "example.com/library"}.Write(dir)
	if err == nil || !strings.Contains(err.Error(), "go.mod is there") {
		t.Errorf("expected a refusal that names go.mod, found %v", err)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 || string(read(t, filepath.Join(dir, "go.mod"))) != "mine" {
		t.Errorf("the directory was changed: %v, %v", found, err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func absolute(t *testing.T, dir string) string {
	t.Helper()
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
