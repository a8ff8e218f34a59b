package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
)

// disk is an ext4 file system of the test's own, on a loop device, whose power can be cut.
type disk struct {
	t      testing.TB
	image  string
	dir    string // where it is mounted
	behind string // where its image is, when that is a file system of its own
}

// asked skips a test that mounts file systems where nobody asked for that.
func asked(t testing.TB) {
	t.Helper()
	if os.Getenv("MILLSTREAM_POWERCUT") == "" {
		t.Skip("set MILLSTREAM_POWERCUT=1 to let this test mount file systems and cut their power (task powercut)")
	}
}

// newDisk makes and mounts one, or skips the test where that is not allowed. Its image is sparse.
func newDisk(t testing.TB, megabytes int64) *disk {
	t.Helper()
	asked(t)
	if os.Geteuid() != 0 {
		t.Skip("a power cut needs root, to mount a loop device")
	}
	d := &disk{t: t}
	d.make(t.TempDir(), t.TempDir(), megabytes)
	return d
}

// make makes the image in one folder and mounts it on another.
func (d *disk) make(in, on string, megabytes int64) {
	d.t.Helper()
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		d.t.Skipf("this needs mkfs.ext4 (e2fsprogs): %v", err)
	}
	d.image, d.dir = filepath.Join(in, "disk.img"), on
	f, err := os.Create(d.image)
	if err == nil {
		err = errors.Join(f.Truncate(megabytes<<20), f.Close())
	}
	if err != nil {
		d.t.Fatal(err)
	}
	if out, err := d.command("mkfs.ext4", "-q", "-F", d.image); err != nil {
		d.t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	if out, err := d.command("mount", "-o", "loop", d.image, d.dir); err != nil {
		d.t.Skipf("mounting is not allowed here: %v: %s", err, out)
	}
	d.t.Cleanup(func() {
		if out, err := d.command("umount", "-l", d.dir); err != nil {
			d.t.Errorf("umount: %v: %s", err, out)
		}
	})
}

func (d *disk) command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// cut is EXT4_IOC_SHUTDOWN without a flush of the journal: from here on nothing reaches the disk, and what was not
// synced is gone.
func (d *disk) cut() {
	d.t.Helper()
	const shutdown, noLogFlush = 0x8004587d, 2
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush); err != nil {
		d.t.Skipf("this kernel cannot shut an ext4 down: %v", err)
	}
}

// restore mounts the disk again as it is after the cut, when nobody uses it any more.
func (d *disk) restore() {
	d.t.Helper()
	err := eventually(patience, func() error {
		out, err := d.command("umount", d.dir)
		if err != nil {
			return fmt.Errorf("umount: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	if out, err := d.command("mount", "-o", "loop", d.image, d.dir); err != nil {
		d.t.Fatalf("mount after the cut: %v: %s", err, out)
	}
}

// TestPowerCutsInDurableModeLoseNothingAccepted cuts the power 10 times under an import and the sagas that follow on
// it. MILLSTREAM_SEED repeats a run's orders and moments.
func TestPowerCutsInDurableModeLoseNothingAccepted(t *testing.T) {
	powerCuts(t, "durable", 10)
}

// TestPowerCutsInFastModeLeaveNothingThatContradictsTheLog: the log may have lost its tail; read models and sagas
// follow it, and the client's ids tell what has to be sent again.
func TestPowerCutsInFastModeLeaveNothingThatContradictsTheLog(t *testing.T) {
	powerCuts(t, "fast", 3)
}

func powerCuts(t *testing.T, mode string, cuts int) {
	const orders = 300
	random := seeded(t)
	d := newDisk(t, 1024)
	dir, address := filepath.Join(d.dir, "data"), freeAddress(t)
	var p *process
	start := func() {
		t.Helper()
		var err error
		if p, err = launchNode(nil, "dev", "--durability", mode, "--data", dir, "--nats", address, "--http", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { p.bury(t) })
	start()
	nc := connect(t, p.NATS)
	var seen atomic.Int64
	if _, err := nc.Subscribe("events.>", func(*nats.Msg) { seen.Add(1) }); err != nil {
		t.Fatal(err)
	}
	promised := &accepted{}
	file := someOrders(t, random, orders)
	imported := make(chan error, 1)
	load := func(send ops.Sender) error {
		s, err := ops.Import(t.Context(), strings.NewReader(file), ops.ImportConfig{
			Send: send, Concurrency: 16, Patience: 5 * time.Minute,
			Fault: func(f ops.Fault) { t.Errorf("line %d: %s: %s", f.Line, f.Reply.Outcome, f.Reply.Error.Message) },
		})
		if err == nil && s.Accepted != s.Lines {
			err = fmt.Errorf("import: %+v: want every line accepted", s)
		}
		return err
	}
	go func() { imported <- load(promised.listen(ops.Call(nc, 2*time.Second))) }()
	queue := queueCustomers(t, nc)
	for range cuts {
		target := seen.Load() + 20 + random.Int64N(150)
		moment := time.Now().Add(time.Duration(random.IntN(4000)) * time.Millisecond)
		err := eventually(patience, func() error {
			if n := seen.Load(); n < target && time.Now().Before(moment) {
				return fmt.Errorf("%d events seen, the power is cut at %d", n, target)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, p.log)
		}
		queue.cut(d)
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
		d.restore()
		start()
	}
	if err := <-imported; err != nil {
		t.Fatal(err)
	}
	queue.finish()
	if mode == "fast" {
		// What was accepted may be lost; the same ids again restore what is missing and change nothing else.
		promised = &accepted{}
		if err := load(promised.listen(ops.Call(nc, 2*time.Second))); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, nc, p, orders, promised)
	log := readLog(t, nc)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	checkReadModels(t, dir, log)
}

// queue sends commands to the durable queue, one after the other, each until it is acknowledged.
type queue struct {
	t       *testing.T
	js      jetstream.JetStream
	stop    context.CancelFunc
	stopped chan struct{}
	acked   []time.Time // by number of the customer
	cuts    []time.Time
}

func queueCustomers(t *testing.T, nc *nats.Conn) *queue {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	q := &queue{t: t, js: js, stop: stop, stopped: make(chan struct{})}
	go func() {
		defer close(q.stopped)
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			if q.send(ctx, len(q.acked)) == nil {
				q.acked = append(q.acked, time.Now())
			}
			<-pace.C
		}
	}()
	t.Cleanup(func() { stop(); <-q.stopped })
	return q
}

func (q *queue) send(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := q.js.Publish(ctx, fmt.Sprintf("commands.customer.q-%d.RegisterCustomer", n), []byte(`{"name":"Ada"}`),
		jetstream.WithMsgID(fmt.Sprintf("queue-%d", n)))
	return err
}

func (q *queue) cut(d *disk) {
	q.cuts = append(q.cuts, time.Now())
	d.cut()
}

// finish holds the queue against its promise: the server syncs it every second, so what was acknowledged before is
// carried out; what was lost since can be sent again under its id.
func (q *queue) finish() {
	q.t.Helper()
	q.stop()
	<-q.stopped
	const synced = 3 * time.Second // the interval, and then some
	missing := func(mayBeLost bool) error {
		var errs []error
		for n, acked := range q.acked {
			lost := slices.ContainsFunc(q.cuts, func(cut time.Time) bool { return cut.After(acked) && cut.Before(acked.Add(synced)) })
			if lost && mayBeLost {
				continue
			}
			subject := fmt.Sprintf("events.customer.q-%d", n)
			stream, err := q.js.Stream(q.t.Context(), natsstore.EventsStream)
			if err == nil {
				_, err = stream.GetLastMsgForSubject(q.t.Context(), subject)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", subject, err))
			}
		}
		return errors.Join(errs...)
	}
	if err := eventually(patience, func() error { return missing(true) }); err != nil {
		q.t.Errorf("queued commands that were synced have had no effect: %v", err)
	}
	for n := range q.acked {
		if err := eventually(patience, func() error { return q.send(q.t.Context(), n) }); err != nil {
			q.t.Fatal(err)
		}
	}
	if err := eventually(patience, func() error { return missing(false) }); err != nil {
		q.t.Fatalf("queued commands that were sent again have had no effect: %v", err)
	}
	q.t.Logf("%d queued commands", len(q.acked))
}

// TestADiskThatFailsEndsTheProcessAndNothingAcknowledgedIsMissing fills the device behind the file system, which
// then loses pages that the kernel had accepted.
func TestADiskThatFailsEndsTheProcessAndNothingAcknowledgedIsMissing(t *testing.T) {
	random := seeded(t)
	d := newFailingDisk(t, 24, 512)
	dir, address := filepath.Join(d.dir, "data"), freeAddress(t)
	start := func() *process {
		p, err := launchNode(nil, "dev", "--durability", "durable", "--data", dir, "--nats", address, "--http", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.bury(t) })
		return p
	}
	p := start()
	nc := connect(t, p.NATS)
	promised := &accepted{}
	ctx, cancel := context.WithCancel(t.Context())
	imported := make(chan error, 1)
	go func() {
		_, err := ops.Import(ctx, strings.NewReader(someOrders(t, random, 20_000)), ops.ImportConfig{
			Send: promised.listen(ops.Call(nc, 2*time.Second)), Concurrency: 16, Patience: time.Hour, Fault: func(ops.Fault) {},
		})
		imported <- err
	}()
	select {
	case <-p.ended:
	case <-time.After(3 * patience):
		t.Fatalf("the process lives on with a full disk:\n%s", p.log)
	}
	cancel()
	<-imported
	if p.err == nil || !strings.Contains(p.log.String(), "look after the disk") {
		t.Errorf("it ended with %v, and must say why:\n%s", p.err, p.log)
	}
	d.enlarge(600)
	d.restore()
	p = start()
	if len(promised.replies) == 0 {
		t.Fatal("nothing was accepted before the disk was full")
	}
	checkLog(t, readLog(t, connect(t, p.NATS)), promised)
}

// newFailingDisk makes a disk whose device is smaller than it says: the image is sparse, and what is behind it full
// after so many megabytes.
func newFailingDisk(t testing.TB, real, apparent int64) *disk {
	t.Helper()
	asked(t)
	if os.Geteuid() != 0 {
		t.Skip("a failing disk needs root, to mount a loop device")
	}
	behind := t.TempDir()
	d := &disk{t: t}
	if out, err := d.command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", real), "tmpfs", behind); err != nil {
		t.Skipf("mounting is not allowed here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := d.command("umount", "-l", behind); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	d.behind = behind
	d.make(behind, t.TempDir(), apparent)
	return d
}

// enlarge gives the device the room it said it had.
func (d *disk) enlarge(megabytes int64) {
	d.t.Helper()
	if out, err := d.command("mount", "-o", fmt.Sprintf("remount,size=%dm", megabytes), d.behind); err != nil {
		d.t.Fatalf("remount: %v: %s", err, out)
	}
}
