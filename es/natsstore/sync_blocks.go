package natsstore

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// blocks syncs a stream that is only ever appended to: the server writes to the last of its files, 1.blk, 2.blk, …, and
// to none before it. So that one file's sync is enough, and does not write what else lies unwritten on the file system.
// When the file is a new one, everything is synced instead, which covers the one before and the entry in the directory
// too. A file is there before a message in it is acknowledged, so looking for it when a sync begins misses nothing. It
// is held open from then on: an error of the disk is reported to each descriptor once.
type blocks struct {
	dir        string
	everything func() error
	number     uint64   // of the last file
	held       *os.File // nil: not known yet
}

func (b *blocks) sync() error {
	if !b.known() {
		return b.everything()
	}
	return b.held.Sync()
}

// known reports whether the held file is the last one and was when the last sync began. Whatever fails in looking, the
// answer is no, and it is looked for again.
func (b *blocks) known() bool {
	known := b.inPlace()
	if !known {
		b.number = max(b.highest(), 1) - 1
	}
	for {
		f, err := os.Open(b.path(b.number + 1))
		if err != nil {
			return known && os.IsNotExist(err)
		}
		b.close()
		b.number, b.held, known = b.number+1, f, false
	}
}

// inPlace reports whether the held file is the one that has its name: a stream can be deleted and made anew.
func (b *blocks) inPlace() bool {
	if b.held == nil {
		return false
	}
	held, err := b.held.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(b.path(b.number))
	return err == nil && os.SameFile(held, named)
}

// highest returns the number of the last file in the directory; 0: there is none.
func (b *blocks) highest() (last uint64) {
	entries, _ := os.ReadDir(b.dir)
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".blk"); ok {
			if n, err := strconv.ParseUint(name, 10, 32); err == nil {
				last = max(last, n)
			}
		}
	}
	return last
}

func (b *blocks) path(n uint64) string {
	return filepath.Join(b.dir, strconv.FormatUint(n, 10)+".blk")
}

// close gives up the held file. It was only read, so there is nothing to lose.
func (b *blocks) close() {
	if b.held != nil {
		b.held.Close()
		b.held = nil
	}
}
