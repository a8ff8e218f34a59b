package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// potsVersion keeps factor coins for each one put, so that versions can be told apart. It stops before every event
// until go on is closed.
func potsVersion(version, factor int, goOn <-chan struct{}) es.Projector {
	p := potsProjector()
	p.Version = version
	apply := p.Apply
	p.Apply = func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		select {
		case <-goOn:
		case <-ctx.Done():
			return ctx.Err()
		}
		if e, ok := r.Event.(coinsPut); ok {
			r.Event = coinsPut{factor * e.Coins}
		}
		return apply(ctx, tx, r)
	}
	return p
}

func with(p es.Projector) func(*Config) {
	return func(c *Config) { c.Domain.Projectors = []es.Projector{p, strictProjector()} }
}

func atOnce() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func wantCoins(t *testing.T, e *Engine, least es.Revision, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if answer, at, err := e.Ask(ctx, potByID, potParams{"a"}, least); err != nil || answer.(potAnswer).Coins != want || at < least {
		t.Errorf("%+v at revision %d (%v), want %d coins at %d or later", answer, at, err, want, least)
	}
}

func modelFiles(t *testing.T, s *testServer) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "readmodels", "pots-v*.db"))
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, f := range files {
		versions = append(versions, strings.Split(filepath.Base(f), "-")[1])
	}
	return strings.Join(versions, " ")
}

func TestAnOlderModelServesUntilTheNewOneHasCaughtUp(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, with(potsVersion(1, 1, atOnce())))
	first := e.Execute(t.Context(), request("a", putCoins{5}, ""))
	wantCoins(t, e, first.Revision, 5)
	closeEngine(t, e)

	goOn := make(chan struct{})
	e = s.start(t, with(potsVersion(2, 10, goOn)))
	wantCoins(t, e, first.Revision, 5) // from the old one: the new one is empty
	second := e.Execute(t.Context(), request("a", putCoins{1}, ""))
	wantOutcome(t, second, es.Accepted)
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := e.Ask(soon, potByID, potParams{"a"}, second.Revision); Status(err) != 503 {
		t.Errorf("a revision that only the new model can show: %v, want 503", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	started := make(chan struct{})
	reader.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			answer, at, err := e.Ask(t.Context(), potByID, potParams{"a"}, 0)
			coins := -1
			if err == nil {
				coins = answer.(potAnswer).Coins
			}
			if coins != 5 && coins != 50 && coins != 60 {
				t.Errorf("a reader saw %d coins at revision %d (%v)", coins, at, err)
			}
			if i == 0 {
				close(started)
			}
		}
	})
	<-started
	close(goOn)
	wantCoins(t, e, second.Revision, 60)
	stop()
	reader.Wait()
	if files := modelFiles(t, s); files != "v1 v2" {
		t.Errorf("the files are %s, want both", files)
	}
	closeEngine(t, e)

	e = s.start(t, with(potsVersion(3, 100, atOnce())))
	eventually(t, "the answer of version 3", func() bool {
		answer, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, 0)
		return err == nil && answer.(potAnswer).Coins == 600
	})
	eventually(t, "the files of the newest two versions alone", func() bool { return modelFiles(t, s) == "v2 v3" })
}

func TestRollbackLetsTheOldModelServeAndGoesForwardAgain(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, with(potsVersion(1, 1, atOnce())))
	if _, err := RollBackProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada"}); !errors.Is(err, es.ErrRejected) {
		t.Errorf("without an older model: %v, want a rejection", err)
	}
	last := e.Execute(t.Context(), request("a", putCoins{5}, ""))
	wantCoins(t, e, last.Revision, 5)
	closeEngine(t, e)

	e = s.start(t, with(potsVersion(2, 10, atOnce())))
	eventually(t, "the new program's model to take over", func() bool {
		answer, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, last.Revision)
		return err == nil && answer.(potAnswer).Coins == 50
	})
	infos, err := RollBackProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada"})
	if err != nil || len(infos) != 1 || !strings.HasPrefix(infos[0].Serving, "pots-v1-") || !strings.HasPrefix(infos[0].Rejected, "pots-v2-") {
		t.Errorf("rolled back: %+v, %v", infos, err)
	}
	wantCoins(t, e, 0, 5)
	last = e.Execute(t.Context(), request("a", putCoins{1}, ""))
	eventually(t, "the new model to go on unseen", func() bool {
		at, _ := e.projections["pots"].model.Checkpoint()
		return at == last.Revision
	})
	wantCoins(t, e, 0, 5)
	closeEngine(t, e)

	e = s.start(t, with(potsVersion(2, 10, atOnce())))
	wantCoins(t, e, 0, 5) // the choice survives a restart
	if _, err := RollBackProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada"}); err != nil {
		t.Fatal(err)
	}
	wantCoins(t, e, last.Revision, 60)
	closeEngine(t, e)

	e = s.start(t, with(potsVersion(1, 1, atOnce()))) // the old program again: its own model goes on where it stood
	eventually(t, "the old program's model to take over", func() bool {
		answer, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, 0)
		return err == nil && answer.(potAnswer).Coins == 6
	})
	wantCoins(t, e, e.Execute(t.Context(), request("a", putCoins{1}, "")).Revision, 7)
}

func TestAModelThatWasNeverCompleteAnswersNothing(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	writer := s.start(t, func(c *Config) { c.DataDir = t.TempDir(); c.Roles = []Role{RoleCommands} })
	var last es.Reply
	for range 3 {
		last = writer.Execute(t.Context(), request("a", putCoins{5}, ""))
	}
	goOn := make(chan struct{})
	e := s.start(t, with(potsVersion(1, 1, goOn)))
	_, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, 0)
	if p := Problem(err); p == nil || p.Status != 503 || p.Code != "being_built" {
		t.Errorf("%v is told as %+v, want 503 being_built", err, p)
	}
	eventually(t, "a node that is not ready", func() bool {
		for _, c := range e.Checks(t.Context()) {
			if c.Name == "projector pots" {
				return !c.OK && strings.Contains(c.Detail, "being built")
			}
		}
		return false
	})
	infos, err := Projections(t.Context(), s.conn, "pots")
	if err != nil || len(infos) != 1 || infos[0].State != Building || infos[0].Lag != last.Revision || infos[0].LagSeconds <= 0 || infos[0].Serving != "" {
		t.Errorf("%+v, %v", infos, err)
	}
	close(goOn)
	wantCoins(t, e, last.Revision, 15)
	if infos, err := Projections(t.Context(), s.conn, ""); err != nil || len(infos) != 2 || infos[0].State != Running || infos[0].Lag != 0 {
		t.Errorf("%+v, %v", infos, err)
	}
}

func TestAQueryThatTheOldTablesCannotAnswerIsToldToWait(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, with(potsVersion(1, 1, atOnce())))
	last := e.Execute(t.Context(), request("a", putCoins{5}, ""))
	wantCoins(t, e, last.Revision, 5)
	closeEngine(t, e)
	newer := potByID
	newer.Ask = func(ctx context.Context, db es.Reader, p potParams) (potAnswer, error) {
		a := potAnswer{ID: p.ID}
		return a, db.QueryRowContext(ctx, `SELECT coins FROM piggies WHERE id = ?`, p.ID).Scan(&a.Coins)
	}
	goOn := make(chan struct{})
	p := potsVersion(2, 1, goOn)
	p.Schema = `CREATE TABLE piggies (id TEXT PRIMARY KEY, coins INTEGER NOT NULL)`
	p.Apply = func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		<-goOn
		_, err := tx.ExecContext(ctx, `INSERT INTO piggies VALUES (?, 7)`, r.Stream.ID)
		return err
	}
	e = s.start(t, with(p), func(c *Config) { c.Domain.Queries = []es.QueryDef{newer} })
	_, _, err := e.Ask(t.Context(), newer, potParams{"a"}, 0)
	if told := Problem(err); told == nil || told.Status != 503 || told.Code != "being_built" || strings.Contains(told.Message, "piggies") {
		t.Errorf("%v is told as %+v, want 503 being_built without SQLite's words", err, told)
	}
	close(goOn)
	eventually(t, "the new model to answer", func() bool {
		answer, _, err := e.Ask(t.Context(), newer, potParams{"a"}, 0)
		return err == nil && answer.(potAnswer).Coins == 7
	})
}

func TestADamagedServingModelIsNotServedWhileItIsRebuilt(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, with(potsVersion(1, 1, atOnce())))
	last := e.Execute(t.Context(), request("a", putCoins{5}, ""))
	wantCoins(t, e, last.Revision, 5)
	file := e.projections["pots"].model.Path()
	closeEngine(t, e)
	if err := os.WriteFile(file, []byte("this is not a database, it is a note"), 0o600); err != nil {
		t.Fatal(err)
	}
	goOn := make(chan struct{})
	e = s.start(t, with(potsVersion(1, 1, goOn)))
	if _, _, err := e.Ask(t.Context(), potByID, potParams{"a"}, 0); Status(err) != 503 {
		t.Errorf("%v, want 503", err)
	}
	close(goOn)
	wantCoins(t, e, last.Revision, 5)
}

func TestAnswersAreKeptUntilTheReadModelChanges(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	asked := 0
	counted := potByID
	counted.Ask = func(ctx context.Context, db es.Reader, p potParams) (potAnswer, error) {
		asked++
		return potByID.Ask(ctx, db, p)
	}
	e := s.start(t, func(c *Config) { c.Domain.Queries = []es.QueryDef{counted} })
	for i := 1; i <= 3; i++ {
		reply := e.Execute(t.Context(), request("a", putCoins{1}, ""))
		for range 4 {
			if answer, at, err := e.Ask(t.Context(), counted, potParams{"a"}, reply.Revision); err != nil || answer.(potAnswer).Coins != i || at < reply.Revision {
				t.Errorf("%+v at %d, %v; want %d coins", answer, at, err, i)
			}
		}
		if asked != i {
			t.Errorf("the read model was asked %d times after %d commits", asked, i)
		}
	}
	families, err := e.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "millstream_query_cache_hits_total" && f.GetMetric()[0].GetCounter().GetValue() != 9 {
			t.Errorf("hits: %v, want 9", f)
		}
	}
}

func TestServingSurvivesALostPointer(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, with(potsVersion(1, 1, atOnce())))
	last := e.Execute(t.Context(), request("a", putCoins{5}, ""))
	wantCoins(t, e, last.Revision, 5)
	closeEngine(t, e)
	if err := os.Remove(filepath.Join(s.dir, "readmodels", "pots.serving")); err != nil {
		t.Fatal(err)
	}
	wantCoins(t, s.start(t, with(potsVersion(1, 1, make(chan struct{})))), last.Revision, 5)
	found, err := readmodel.ReadServing(filepath.Join(s.dir, "readmodels"), "pots")
	if err != nil || !strings.HasPrefix(found.Key, "pots-v1-") {
		t.Errorf("%+v, %v", found, err)
	}
}
