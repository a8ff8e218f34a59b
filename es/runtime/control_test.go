package runtime

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

func TestAPausedProjectorStandsStillAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	first := e.Execute(t.Context(), request("a", putCoins{1}, ""))
	wantCoins(t, e, first.Revision, 1)
	infos, err := PauseProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada", Reason: "a look"})
	if err != nil || len(infos) != 1 || infos[0].State != Paused || infos[0].Paused.By != "ada" {
		t.Fatalf("%+v, %v", infos, err)
	}
	second := e.Execute(t.Context(), request("a", putCoins{1}, ""))
	eventually(t, "the other projector", func() bool {
		at, _ := e.projections["strict"].model.Checkpoint()
		return at == second.Revision
	})
	wantCoins(t, e, 0, 1)
	closeEngine(t, e)
	e = s.start(t)
	wantCoins(t, e, 0, 1)
	if infos, err := ResumeProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada"}); err != nil || infos[0].State != Running {
		t.Errorf("%+v, %v", infos, err)
	}
	wantCoins(t, e, second.Revision, 2)
}

func halted(t *testing.T, s *testServer) ProjectionInfo {
	t.Helper()
	var found ProjectionInfo
	eventually(t, "the halt", func() bool {
		infos, err := Projections(t.Context(), s.conn, "strict")
		if err != nil || len(infos) != 1 {
			t.Fatalf("%+v, %v", infos, err)
		}
		found = infos[0]
		return found.State == Halted
	})
	return found
}

func TestSkippingIsTheRecordedWayOutOfAHalt(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{1}, "")), es.Accepted)
	bad := e.Execute(t.Context(), request("a", putCoins{13}, ""))
	// A commit that nothing can read stands in the log too, as after a program too new for this one.
	stored, err := s.js.Publish(t.Context(), "events.pot.a", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if found := halted(t, s); found.HaltedAt != bad.Revision || !strings.Contains(found.Error, "13 coins") {
		t.Errorf("%+v, want a halt at revision %d for 13 coins", found, bad.Revision)
	}
	skip := func(revision es.Revision, reason string) error {
		_, err := ResumeProjection(t.Context(), s.conn, ProjectionRequest{Name: "strict", By: "ada", Reason: reason, Skip: revision})
		return err
	}
	if err := skip(bad.Revision, " "); err == nil {
		t.Error("a skip without a reason was taken")
	}
	if err := skip(bad.Revision-1, "wrong one"); !errors.Is(err, es.ErrRejected) {
		t.Errorf("a skip of another revision: %v", err)
	}
	if err := skip(bad.Revision, "13 is unlucky"); err != nil {
		t.Fatal(err)
	}
	if found := halted(t, s); found.HaltedAt != es.Revision(stored.Sequence) {
		t.Errorf("halted at %d, want at the unreadable commit %d", found.HaltedAt, stored.Sequence)
	}
	if err := skip(es.Revision(stored.Sequence), "not ours"); err != nil {
		t.Fatal(err)
	}
	caughtUp := func(least es.Revision) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := e.projections["strict"].at(ctx, least); err != nil {
			t.Fatal(err)
		}
	}
	caughtUp(es.Revision(stored.Sequence))
	infos, err := Projections(t.Context(), s.conn, "strict")
	if err != nil || infos[0].State != Running || len(infos[0].Skipped) != 2 || infos[0].Skipped[0].By != "ada" || infos[0].Skipped[0].Reason != "13 is unlucky" {
		t.Errorf("%+v, %v", infos, err)
	}
	if verdicts, err := Verify(t.Context(), s.conn, ProjectionRequest{Name: "strict", By: "ada"}, func(string, es.Revision, es.Revision) {}); err != nil || len(verdicts) != 1 || verdicts[0].Diff != "" {
		t.Errorf("a rebuild must skip the same: %+v, %v", verdicts, err)
	}
	if err := Rebuild(t.Context(), s.conn, ProjectionRequest{Name: "strict", By: "ada"}, func(string, es.Revision, es.Revision) {}); err != nil {
		t.Errorf("rebuild: %v", err)
	}
	closeEngine(t, e)
	e = s.start(t) // the checkpoint stands on the unreadable commit, and is still of this log
	answer, err := Question(t.Context(), s.conn, "strict", `SELECT coins FROM pots`, 0)
	if err != nil || fmt.Sprint(answer.Rows) != "[[1]]" {
		t.Errorf("%+v, %v", answer, err)
	}
	infos, err = Projections(t.Context(), s.conn, "strict")
	if err != nil || infos[0].State != Running || len(infos[0].Skipped) != 2 {
		t.Errorf("after a restart: %+v, %v", infos, err)
	}
}

func TestVerifyNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	last := e.Execute(t.Context(), request("a", putCoins{5}, ""))
	wantCoins(t, e, last.Revision, 5)
	verify := func() Verdict {
		t.Helper()
		verdicts, err := Verify(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada"}, func(string, es.Revision, es.Revision) {})
		if err != nil || len(verdicts) != 1 {
			t.Fatalf("%+v, %v", verdicts, err)
		}
		return verdicts[0]
	}
	if found := verify(); found.Diff != "" || found.Revision != last.Revision {
		t.Errorf("%+v, want no difference at revision %d", found, last.Revision)
	}
	db, err := sql.Open("millstream-sqlite3", e.projections["pots"].model.Path())
	if err == nil {
		_, err = db.ExecContext(t.Context(), `UPDATE pots SET coins = 6`)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if found := verify(); found.Diff != `table pots, id "a": coins 6 against 5` {
		t.Errorf("%+v, want the row named", found)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "readmodels", "*.verify*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestQuestionsAreAnsweredAndMayOnlyRead(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	var last es.Reply
	for i := range 20 {
		last = e.Execute(t.Context(), request(fmt.Sprintf("p-%02d", i), putCoins{i + 1}, ""))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := e.projections["pots"].at(ctx, last.Revision); err != nil {
		t.Fatal(err)
	}
	answer, err := Question(t.Context(), s.conn, "pots", `SELECT id, coins, 9007199254740993 FROM pots ORDER BY id`, 3)
	if err != nil || !answer.More || answer.Revision != last.Revision || fmt.Sprint(answer.Rows[2]) != "[p-02 3 9007199254740993]" || len(answer.Rows) != 3 {
		t.Errorf("%+v, %v", answer, err)
	}
	for name, question := range map[string]string{
		"a write": `DELETE FROM pots`, "another file": `ATTACH '/etc/passwd' AS x`, "a setting": `PRAGMA journal_mode = DELETE`,
		"a typo": `SELEC 1`, "an unknown table": `SELECT * FROM pigs`, "a write after a question": `SELECT 1; DELETE FROM pots`,
	} {
		var invalid *es.InvalidError
		if _, err := Question(t.Context(), s.conn, "pots", question, 0); !errors.As(err, &invalid) {
			t.Errorf("%s: %v, want an InvalidError", name, err)
		}
	}
	if _, err := Question(t.Context(), s.conn, "pigs", `SELECT 1`, 0); Status(err) != 404 {
		t.Errorf("an unknown projector: %v", err)
	}
}

func TestReplayShowsThePastAndRefusesTheFuture(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Roles = []Role{RoleCommands} })
	var replies []es.Reply
	for range 5 {
		replies = append(replies, e.Execute(t.Context(), request("a", putCoins{1}, "")))
	}
	third, err := e.log.At(t.Context(), replies[2].Revision)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at    es.Range
		coins int
	}{
		"now":               {es.Range{}, 5},
		"a revision":        {es.Range{UpTo: replies[1].Revision}, 2},
		"a time":            {es.Range{AsOf: third[0].Time}, 3},
		"this moment":       {es.Range{AsOf: time.Now()}, 5},
		"before everything": {es.Range{AsOf: third[0].Time.Add(-time.Hour)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := readmodel.Build(t.TempDir(), potsProjector())
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			at, err := Replay(t.Context(), s.conn, potsDomain(), m, c.at, func(_, _ es.Revision) {})
			var coins int
			if err == nil {
				err = m.DB().QueryRowContext(t.Context(), `SELECT coalesce(sum(coins), 0) FROM pots`).Scan(&coins)
			}
			if err != nil || coins != c.coins || int(at) != c.coins {
				t.Errorf("%d coins at revision %d, %v; want %d", coins, at, err, c.coins)
			}
		})
	}
	for name, at := range map[string]es.Range{"a future revision": {UpTo: 99}, "a future time": {AsOf: time.Now().Add(time.Hour)}} {
		m, err := readmodel.Build(t.TempDir(), potsProjector())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Replay(t.Context(), s.conn, potsDomain(), m, at, func(_, _ es.Revision) {}); Status(err) != 400 {
			t.Errorf("%s: %v, want an InvalidError", name, err)
		}
		if err := m.Discard(); err != nil {
			t.Error(err)
		}
	}
}

func TestCommitsStoredTogetherAreCutTogether(t *testing.T) {
	t.Parallel()
	early, late := time.Unix(100, 0), time.Unix(200, 0)
	commit := func(at time.Time) any { return []es.Recorded{{Meta: es.Meta{Time: at}}} }
	// Revisions 11 to 15: 12, 13 and 14 were stored together.
	b := &Batch{First: 11, Last: 15, Items: []any{commit(early), commit(early), commit(early), commit(early), commit(late)}, Whole: []bool{true, false, false, true, true}}
	for name, c := range map[string]struct {
		upTo  es.Revision
		asOf  time.Time
		n     int
		ended bool
	}{
		"before them":       {11, time.Time{}, 1, true},
		"at their first":    {12, time.Time{}, 4, true},
		"in their midst":    {13, time.Time{}, 4, true},
		"at their last":     {14, time.Time{}, 4, true},
		"all":               {15, time.Time{}, 5, false},
		"before a time":     {15, early, 4, true},
		"before everything": {15, time.Unix(1, 0), 0, true},
	} {
		if n, ended := cut(b, c.upTo, c.asOf); n != c.n || ended != c.ended {
			t.Errorf("%s: %d commits, ended %v; want %d, %v", name, n, ended, c.n, c.ended)
		}
	}
}

func TestBatchesGrowWhenFarBehindAndShrinkWhenSlow(t *testing.T) {
	t.Parallel()
	r := &batchRun{cfg: BatchConfig{Size: 500, Most: 4000}}
	r.size.Store(500)
	for _, step := range []struct {
		n    int
		took time.Duration
		want int64
	}{
		{500, time.Millisecond, 1000}, {1000, time.Millisecond, 2000}, {10, time.Millisecond, 2000},
		{2000, batchTime, 2000}, {2000, time.Second, 1000}, {100, time.Second, 500}, {1, time.Hour, 250},
		{250, time.Hour, 125}, {125, time.Hour, 64}, {64, time.Hour, 64},
	} {
		if r.adapt(step.n, step.took); r.size.Load() != step.want {
			t.Errorf("after %d in %s the size is %d, want %d", step.n, step.took, r.size.Load(), step.want)
		}
	}
}
