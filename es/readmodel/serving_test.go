package readmodel_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestThePointerIsReplacedWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if s, err := readmodel.ReadServing(dir, "sums"); err != nil || s != (readmodel.Serving{}) {
		t.Errorf("before the first: %+v, %v", s, err)
	}
	want := readmodel.Serving{Key: "sums-v2-00000000", Previous: "sums-v1-00000000", Paused: &readmodel.Pause{By: "ada", At: time.Unix(1, 0).UTC()}}
	if err := want.Write(dir, "sums"); err != nil {
		t.Fatal(err)
	}
	got, err := readmodel.ReadServing(dir, "sums")
	if err != nil || got.Key != want.Key || got.Previous != want.Previous || *got.Paused != *want.Paused {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if files := list(t, dir); len(files) != 1 {
		t.Errorf("the directory holds %v, want one file", files)
	}
	if err := os.WriteFile(filepath.Join(dir, "sums.serving"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readmodel.ReadServing(dir, "sums"); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("a file that is none: %v, want a permanent error", err)
	}
}

func TestSweepRemovesOldModelsOfThisProjectorOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{
		"sums-v1-00000000.db", "sums-v1-00000000.db-wal", "sums-v1-00000000.db.rebuild", "sums-v2-00000000.db", "sums-v10-0000000f.db",
		"sums-more-v1-00000000.db", "sums-v1-00000000.db.corrupt-1", "sums.serving",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := readmodel.Sweep(dir, "sums", "sums-v2-00000000", ""); err != nil {
		t.Fatal(err)
	}
	want := []string{"sums-more-v1-00000000.db", "sums-v1-00000000.db.corrupt-1", "sums-v2-00000000.db", "sums.serving"}
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
}

func TestAKeptModelAnswersAndStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := sums()
	m := open(t, dir, old)
	apply(t, m, batch(1, 5))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := readmodel.OpenKept(dir, "sums", old.Key())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	wantWhole(t, kept, 5)
	if _, err := readmodel.OpenKept(dir, "sums", "sums-v9-00000000"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a model that is not there: %v, want os.ErrNotExist", err)
	}
	if files := list(t, dir); slices.Contains(files, "sums-v9-00000000.db") {
		t.Error("asking for it has made it")
	}
}

func TestCompletenessIsPartOfTheContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir, sums())
	want := func(when string, complete bool) {
		t.Helper()
		if m.Complete() != complete {
			t.Errorf("%s: complete is %v", when, m.Complete())
		}
	}
	want("new", false)
	apply(t, m, batch(1, 3))
	if err := m.SetComplete(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("set", true)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir, sums())
	want("opened again", true)
	rebuilt := build(t, dir, sums())
	apply(t, rebuilt, batch(1, 3))
	if err := rebuilt.SetComplete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Swap(rebuilt); err != nil {
		t.Fatal(err)
	}
	want("swapped", true)
	if err := m.Reset(); err != nil {
		t.Fatal(err)
	}
	want("reset", false)
}

func TestSkippedCommitsAreLeftOutAndRemembered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir, sums())
	apply(t, m, batch(1, 2))
	skip := readmodel.Skipped{Revision: 3, Reason: "it is wrong", By: "ada", At: time.Unix(9, 5).UTC(), Error: "boom"}
	if err := m.Skip(t.Context(), skip); err != nil {
		t.Fatal(err)
	}
	late := skip
	late.Revision = 2
	if err := m.Skip(t.Context(), late); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("what is shown already: %v, want a permanent error", err)
	}
	apply(t, m, batch(3, 4))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir, sums())
	if got := m.Skipped(); len(got) != 1 || got[3] != skip {
		t.Errorf("remembered is %+v, want %+v", got, skip)
	}
	var total int64
	if err := m.DB().QueryRowContext(t.Context(), `SELECT sum(total) FROM sums`).Scan(&total); err != nil || total != 1+2+4 {
		t.Errorf("the sum is %d (%v), want 7", total, err)
	}
}

func TestOnlyCommitsThatHandleAnEventChangeTheGeneration(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	before := m.Generation()
	silent := number(1, 0)
	silent.Event = noise{}
	apply(t, m, batchOf(silent))
	if m.Generation() != before {
		t.Error("a commit of nothing that matters changed the generation")
	}
	apply(t, m, batch(2, 2))
	if m.Generation() == before {
		t.Error("a commit that matters did not change the generation")
	}
}
