//go:build linux

package natsstore

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkSync compares ways to bring one group of appends to the disk: the file system's sync, and a file's through a
// descriptor that was opened before anything was written, which is the one that reports every error. The group is 64
// messages of 700 bytes, written one by one to the end of a file through another descriptor, as the server does; only the
// sync is timed. On the busy disk another process writes 256 MiB again and again. TMPDIR chooses the disk.
func BenchmarkSync(b *testing.B) {
	ways := []struct {
		name     string
		allocate bool // the file's blocks, beforehand, its size staying 0
		sync     func(file, dir *os.File) error
	}{
		{"syncfs", false, func(_, dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }},
		{"fsync", false, func(file, _ *os.File) error { return file.Sync() }},
		{"fdatasync", false, func(file, _ *os.File) error { return unix.Fdatasync(int(file.Fd())) }},
		{"fdatasync-allocated", true, func(file, _ *os.File) error { return unix.Fdatasync(int(file.Fd())) }},
	}
	for _, disk := range []string{"idle", "busy"} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("disk=%s/way=%s", disk, way.name), func(b *testing.B) {
				dir := b.TempDir()
				if disk == "busy" {
					keepBusy(b, filepath.Join(dir, "other"))
				}
				path := filepath.Join(dir, "1.blk")
				writer, held, parent := openFile(b, path, os.O_RDWR|os.O_CREATE), openFile(b, path, os.O_RDONLY), openFile(b, dir, os.O_RDONLY)
				if way.allocate {
					if err := unix.Fallocate(int(writer.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 256<<20); err != nil {
						b.Skip(err)
					}
				}
				if err := way.sync(held, parent); err != nil {
					b.Fatal(err)
				}
				record := make([]byte, 700)
				var took []time.Duration
				end := int64(0)
				for b.Loop() {
					b.StopTimer()
					for range 64 {
						if _, err := writer.WriteAt(record, end); err != nil {
							b.Fatal(err)
						}
						end += int64(len(record))
					}
					b.StartTimer()
					began := time.Now()
					if err := way.sync(held, parent); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				for _, p := range []int{50, 90, 99} {
					b.ReportMetric(took[len(took)*p/100].Seconds()*1000, fmt.Sprintf("p%d-ms", p))
				}
			})
		}
	}
}

// BenchmarkSharedSync is the limit of the disk and the Syncer, without a server: 64 writers that each append to one file
// and wait for the sync they share. The sizes are those of a commit of one event and of five.
func BenchmarkSharedSync(b *testing.B) {
	for _, size := range []int{700, 3400} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			dir := b.TempDir()
			s, err := NewSyncer(dir, dir)
			if err != nil {
				b.Fatal(err)
			}
			writer := openFile(b, filepath.Join(dir, "1.blk"), os.O_RDWR|os.O_CREATE)
			record := make([]byte, size)
			var end atomic.Int64
			b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					turn := s.Turn()
					turn.Begin()
					if _, err := writer.WriteAt(record, end.Add(int64(size))-int64(size)); err != nil {
						b.Error(err)
					}
					if err := turn.Wait(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func openFile(b *testing.B, path string, flag int) *os.File {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

// keepBusy lets another process write to a file until the benchmark ends.
func keepBusy(b *testing.B, path string) {
	c := exec.Command("sh", "-c", `while dd if=/dev/zero of="$0" bs=1M count=256 conv=notrunc status=none; do :; done`, path)
	if err := c.Start(); err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(path); err == nil && info.Size() == 256<<20 {
			return
		}
		if time.Now().After(end) {
			b.Fatal("the other process does not write")
		}
	}
}
