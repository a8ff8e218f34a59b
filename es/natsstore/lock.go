package natsstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/millstream-es/millstream/es"
)

// LockDir takes a data directory for this process, until the file is closed. Two processes writing one store would
// destroy it. The operating system
// releases the lock when the process dies, however it dies; closing the file releases it too.
func LockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, es.Permanent(fmt.Errorf("data directory: %w", err))
	}
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, es.Permanent(fmt.Errorf("data directory: %w", err))
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		holder, err := io.ReadAll(f)
		if err != nil {
			return nil, es.Permanent(fmt.Errorf("data directory %s is in use by another process: %w", dir, err))
		}
		return nil, es.Permanent(fmt.Errorf("data directory %s is in use by process %s: stop it, or choose another directory with --data DIR", dir, strings.TrimSpace(string(holder))))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(es.Permanent(fmt.Errorf("lock %s: %w", name, err)), f.Close())
	}
	return f, nil
}
