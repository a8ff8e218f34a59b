package natsstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// openSync syncs the whole file system that dir is on: one call for every file, index and directory entry that the
// server has touched. Since Linux 5.8 it reports a write error that occurred after the descriptor was opened, once.
func openSync(dir string) (sync, closeFile func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	return func() error { return unix.Syncfs(int(f.Fd())) }, f.Close, nil
}
