package main

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/projectors"
)

// TestFsckFindsWhatIsWrong damages a data directory as disks and people do.
func TestFsckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := dev(t, dir)
	nc := connect(t, p.NATS)
	promised := &accepted{}
	_, err := ops.Import(t.Context(), strings.NewReader(someOrders(t, seeded(t), 40)), ops.ImportConfig{
		Send: promised.listen(ops.Call(nc, 2*time.Second)), Concurrency: 8, Fault: func(f ops.Fault) { t.Errorf("line %d: %+v", f.Line, f.Reply) },
	})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, nc, p, 40, promised)
	if report, code := fsck(t, "--server", p.NATS); code != 0 || !report.Sound() {
		t.Errorf("a running system: exit code %d, %+v", code, report)
	}
	nc.Close()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	report, code := fsck(t, "--data", dir)
	if code != 0 || !report.Sound() || report.Revision == 0 {
		t.Fatalf("a stopped system: exit code %d, %+v", code, report)
	}
	if want := 3 + len(projectors.All); len(report.Parts) != want || slices.ContainsFunc(report.Parts[3:], func(p ops.FsckPart) bool { return p.Looked != 1 }) {
		t.Errorf("parts: %+v, want %d, and every read model looked at", report.Parts, want)
	}

	models, err := filepath.Glob(filepath.Join(dir, "readmodels", "orders-v*.db"))
	if err != nil || len(models) != 1 {
		t.Fatalf("the read model of orders: %v, %v", models, err)
	}
	db, err := sql.Open("sqlite3", models[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `DELETE FROM orders WHERE order_id = 'o-7'`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if report, code := fsck(t, "--data", dir); code != 1 || wrong(report, "read model orders") != 1 || wrong(report, "log") != 0 {
		t.Errorf("a read model that somebody changed: exit code %d, %+v", code, report)
	}

	// A bit that turns over in a block: the server leaves that message out and says nothing.
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "EVENTS", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("the log's blocks: %v, %v", blocks, err)
	}
	data, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if report, code := fsck(t, "--data", dir); code != 1 || wrong(report, "log") == 0 {
		t.Errorf("a bit that turned over: exit code %d, %+v", code, report)
	}
}

func fsck(t *testing.T, args ...string) (report ops.FsckReport, code int) {
	t.Helper()
	stdout, stderr, code := run(t, "millstream", append([]string{"fsck", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("fsck %v: exit code %d, %v\n%s\n%s", args, code, err, stdout, stderr)
	}
	return report, code
}

// wrong is how many faults one part has.
func wrong(r ops.FsckReport, part string) int {
	for _, p := range r.Parts {
		if p.Name == part {
			return p.Wrong
		}
	}
	return -1
}
