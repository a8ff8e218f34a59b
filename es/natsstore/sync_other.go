//go:build !linux

package natsstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// openSync syncs every file and directory below dir that has changed since the last sync, one after the other: slower
// than Linux's one call, and as safe. os.File.Sync asks the drive itself (F_FULLFSYNC) on macOS.
func openSync(dir string) (sync, closeFile func() error, err error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, err
	}
	last := time.Time{}
	sync = func() error {
		began := time.Now()
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			// File times are coarse: what changed shortly before the last sync is synced once more.
			if err != nil || !info.Mode().IsRegular() && !info.IsDir() || info.ModTime().Before(last.Add(-2*time.Second)) {
				return err
			}
			return syncFile(path)
		})
		if err == nil {
			last = began
		}
		return err
	}
	return sync, func() error { return nil }, nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
