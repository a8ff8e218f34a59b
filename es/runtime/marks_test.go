package runtime

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/millstream-es/millstream/es/natsstore"
)

// afterAPowerCut runs early, then late, and starts again with a stream's files of the time between and the consumers'
// acknowledgements of the end: a power cut in fast mode can leave them so.
func afterAPowerCut(t *testing.T, stream string, early, late func(*Engine)) (*testServer, *Engine) {
	t.Helper()
	dir := t.TempDir()
	start := restartable(t, dir)
	once := func(f func(*Engine)) {
		t.Helper()
		s, e := start()
		f(e)
		closeEngine(t, e)
		s.conn.Close()
		s.Shutdown()
	}
	files, kept := filepath.Join(dir, "jetstream", "ENGINE", "streams", stream, "msgs"), t.TempDir()
	once(early)
	if err := os.CopyFS(kept, os.DirFS(files)); err != nil {
		t.Fatal(err)
	}
	once(late)
	if err := os.RemoveAll(files); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(files, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	return start()
}

func TestWhatAPowerCutTookOfTheSagasIsHeardAgain(t *testing.T) {
	t.Parallel()
	s, e := afterAPowerCut(t, natsstore.SagasStream, func(e *Engine) {
		take(t, e, "a", "b", 3)
		eventually(t, "the coins in b", func() bool { return potCoins(t, e, "b") == 3 })
	}, func(e *Engine) {
		take(t, e, "c", "d", 4)
		eventually(t, "the coins in d", func() bool { return potCoins(t, e, "d") == 4 })
	})
	trail := natsstore.NewSagaLog(s.js)
	eventually(t, "the process of c", func() bool {
		last, err := trail.Last(t.Context(), movers.Name(), "c")
		return err == nil && last.Sequence > 0
	})
	take(t, e, "e", "f", 5)
	eventually(t, "the coins in f", func() bool { return potCoins(t, e, "f") == 5 })
	if b, d := potCoins(t, e, "b"), potCoins(t, e, "d"); b != 3 || d != 4 {
		t.Errorf("%d coins in b and %d in d, want 3 and 4: something was done twice", b, d)
	}
}

// TestAQueueThatIsAheadOfItsStreamTakesWhatComes: the stream lost its end and uses its numbers anew.
func TestAQueueThatIsAheadOfItsStreamTakesWhatComes(t *testing.T) {
	t.Parallel()
	put := func(e *Engine, id string) {
		t.Helper()
		if _, err := e.Enqueue(t.Context(), request(id, putCoins{1}, "")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the coins in "+id, func() bool { return potCoins(t, e, id) == 1 })
	}
	_, e := afterAPowerCut(t, natsstore.CommandsStream, func(e *Engine) {
		put(e, "a")
	}, func(e *Engine) {
		put(e, "b")
		put(e, "c")
		put(e, "d")
	})
	put(e, "e")
}
