package readmodel_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

func TestADamagedFileIsSetAsideAndRebuilt(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(data []byte) []byte{
		"header overwritten":  func(d []byte) []byte { copy(d, strings.Repeat("x", 100)); return d },
		"a page overwritten":  func(d []byte) []byte { copy(d[4096:], strings.Repeat("x", 4096)); return d },
		"cut in the middle":   func(d []byte) []byte { return d[:len(d)/2] },
		"cut within a page":   func(d []byte) []byte { return d[:5000] },
		"something else":      func([]byte) []byte { return []byte("this is not a database, it is a note") },
		"random looking junk": func(d []byte) []byte { return []byte(strings.Repeat("\x00\xff\x13", 9000)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			m := open(t, dir, sums())
			apply(t, m, batch(1, 2000))
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(m.Path())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(m.Path(), harm(data), 0o600); err != nil {
				t.Fatal(err)
			}
			fresh := open(t, dir, sums())
			aside, err := filepath.Glob(m.Path() + ".corrupt-*")
			if err != nil || len(aside) != 1 {
				t.Fatalf("set aside: %v %v, want one file", aside, err)
			}
			if why := fresh.Recovered(); !strings.Contains(why, filepath.Base(aside[0])) {
				t.Errorf("Recovered says %q, want where the damaged file is", why)
			}
			wantWhole(t, fresh, 0)
			apply(t, fresh, batch(1, 3))
			wantWhole(t, fresh, 3)
		})
	}
}

func TestADatabaseWithoutACheckpointIsSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir, sums())
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	alter(t, m.Path(), `DROP TABLE millstream_checkpoint`)
	if fresh := open(t, dir, sums()); fresh.Recovered() == "" {
		t.Error("a database without a checkpoint was taken as it was")
	}
}

func TestAnEmptyFileIsAFreshModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, sums().Key()+".db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, open(t, dir, sums()), 0)
}

func alter(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("millstream-sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), statement)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestASchemaThatDoesNotCompileIsPermanent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := sums()
	p.Schema = `CREATE TABLE one (a TEXT); CREATE TABEL two (b TEXT)`
	m, err := readmodel.Open(dir, p)
	if !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), "projector sums") || !strings.Contains(err.Error(), "TABEL") {
		t.Errorf("got %v %v, want a permanent error that names projector and place", m, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("%v was left behind (%v)", left, err)
	}
}

func TestADirectoryThatCannotBeMadeIsAnError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readmodel.Open(filepath.Join(file, "sub"), sums()); err == nil {
		t.Error("a model was opened below a file")
	}
}

func TestMinorInsideSQLite(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	for call, want := range map[string]string{
		`minor('19.99', 'USD')`:  "1999",
		`minor('-0.5', 'EUR')`:   "-50",
		`minor('1999', 'JPY')`:   "1999",
		`minor('1.234', 'KWD')`:  "1234",
		`minor(7, 'USD')`:        "700",
		`minor(NULL, 'USD')`:     "",
		`minor('1', NULL)`:       "",
		`typeof(minor(1,'USD'))`: "integer",
		`minor('{"a":92233720368547.07,"c":"USD"}' -> '$.a', '{"a":92233720368547.07,"c":"USD"}' ->> '$.c')`: "9223372036854707",
	} {
		var got sql.NullString
		if err := m.DB().QueryRowContext(t.Context(), `SELECT `+call).Scan(&got); err != nil || got.String != want {
			t.Errorf("%s is %q (%v), want %q", call, got.String, err, want)
		}
	}
	for _, call := range []string{
		`minor('19.999', 'USD')`, `minor('1', 'XYZ1')`, `minor('abc', 'USD')`, `minor(19.99, 'USD')`, `minor('1', 5)`,
		`minor('99999999999999999999', 'USD')`,
	} {
		var got sql.NullString
		if err := m.DB().QueryRowContext(t.Context(), `SELECT `+call).Scan(&got); err == nil {
			t.Errorf("%s is %q, want an error", call, got.String)
		}
	}
}

const victimDir = "MILLSTREAM_READMODEL_VICTIM"

// beVictim applies, rebuilds, swaps and moves the pointer until it is killed, telling each checkpoint it has reached.
func beVictim(dir string) {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	m, err := readmodel.Open(dir, sums())
	must(err)
	for n := 0; ; n++ {
		at, _ := m.Checkpoint()
		must(m.Apply(ctx, batch(at+1, at+40)))
		if n%3 == 0 {
			rebuilt, err := readmodel.Build(dir, sums())
			must(err)
			at, _ := m.Checkpoint()
			must(rebuilt.Apply(ctx, batch(1, at)))
			must(rebuilt.SetComplete(ctx))
			must(m.Swap(rebuilt))
			must(readmodel.Serving{Key: sums().Key(), Previous: fmt.Sprintf("sums-v1-%08x", n)}.Write(dir, "sums"))
		}
		at, _ = m.Checkpoint()
		fmt.Println(at)
	}
}

func TestKilledAtAnyMomentTheModelIsWhole(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	dir := t.TempDir()
	for kill := range 8 {
		victim := exec.CommandContext(t.Context(), os.Args[0])
		victim.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 1 + kill {
			if !lines.Scan() {
				t.Fatalf("the victim ended by itself: %v", lines.Err())
			}
		}
		var told int64
		if _, err := fmt.Sscan(lines.Text(), &told); err != nil {
			t.Fatal(err)
		}
		if err := victim.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := victim.Wait(); err == nil {
			t.Fatal("the victim was not killed")
		}
		m := open(t, dir, sums())
		at, _ := m.Checkpoint()
		if int64(at) < told || m.Recovered() != "" {
			t.Errorf("the model stands at %d after %d was reached; recovered: %q", at, told, m.Recovered())
		}
		wantWhole(t, m, int64(at))
		if s, err := readmodel.ReadServing(dir, "sums"); err != nil || s.Key != sums().Key() || !m.Complete() {
			t.Errorf("the pointer is %+v (%v), and the model is complete: %v", s, err, m.Complete())
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
