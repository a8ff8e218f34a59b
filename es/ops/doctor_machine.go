package ops

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	freeSick, freeAiling   = 256 << 20, 2 << 30 // bytes of disk
	filesSick, filesAiling = 1024, 8192
)

// ExamineMachine looks at a data directory, without taking it, and at what this process may do.
func ExamineMachine(dir string) []Finding {
	return []Finding{examineDirectory(dir), examineLock(dir), examineDisk(dir), examineFiles()}
}

func examineDirectory(dir string) Finding {
	f := Finding{Check: "data directory", Health: Healthy, Found: dir}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Health, f.Found, f.Mend = Ailing, dir+" is not there", "the first start makes it; if there was one, look at --data"
	case err != nil:
		f.Health, f.Found, f.Mend = Sick, err.Error(), "give this user access to it"
	case !info.IsDir():
		f.Health, f.Found, f.Mend = Sick, dir+" is no directory", "choose another with --data"
	case unwritable(dir) != nil:
		f.Health, f.Found, f.Mend = Sick, unwritable(dir).Error(), "give this user the right to write there"
	case info.Mode().Perm()&0o077 != 0:
		f.Health, f.Mend = Ailing, "chmod 700 "+dir
		f.Found += fmt.Sprintf(" has mode %04o: other users of this machine may get at the log", info.Mode().Perm())
	}
	return f
}

func unwritable(dir string) error {
	const write, search = 2, 1
	if err := syscall.Access(dir, write|search); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// examineLock reads who holds the directory. Trying the lock would keep a process from starting at that moment.
func examineLock(dir string) Finding {
	f := Finding{Check: "lock", Health: Healthy, Found: "free"}
	data, err := os.ReadFile(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return f
	}
	if err != nil {
		return Finding{Check: "lock", Health: Sick, Found: err.Error(), Mend: "give this user access to it"}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return f
	}
	if err := syscall.Kill(pid, 0); err == nil || errors.Is(err, syscall.EPERM) {
		f.Found = fmt.Sprintf("taken by process %d", pid)
	}
	return f
}

func examineDisk(dir string) Finding {
	f := Finding{Check: "disk", Health: Healthy}
	for { // a directory that is not there yet will be on the disk of the one above it
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Finding{Check: "disk", Health: Sick, Found: fmt.Sprintf("%s: %v", dir, err), Mend: "give this user access to it"}
	}
	free := uint64(s.Bavail) * uint64(s.Bsize) //nolint:unconvert // of other types elsewhere
	f.Found = fmt.Sprintf("%.1f GiB free", float64(free)/(1<<30))
	if free < freeAiling {
		f.Health, f.Mend = Ailing, "make room: commands fail when the disk is full, and a rebuild needs as much as the read model"
	}
	if free < freeSick {
		f.Health = Sick
	}
	return f
}

func examineFiles() Finding {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return Finding{Check: "open files", Health: Sick, Found: err.Error(), Mend: "look at ulimit -n"}
	}
	f := Finding{Check: "open files", Health: Healthy, Found: fmt.Sprintf("%d allowed", limit.Max)} // Go raises itself to the most
	if limit.Max < filesAiling {
		f.Health, f.Mend = Ailing, "ulimit -Hn 65536, or LimitNOFILE=65536 in the service: every stream and client takes some"
	}
	if limit.Max < filesSick {
		f.Health = Sick
	}
	return f
}
