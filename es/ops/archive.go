package ops

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// An archive is lines of CloudEvents 1.0 in JSON: of a whole log first the saga transitions, so that none is ahead of
// the events; then the events, in the log's order; last the proof that nothing is missing. These names are durable.
const (
	transitionType = "millstream.saga.transition"
	proofType      = "millstream.archive.proof"
	maxArchiveLine = 64 << 20 // bytes; a server's largest message is 64 MiB at most
)

// Proof closes an archive.
type Proof struct {
	Category    string      `json:"category,omitempty"` // the archive holds only this one
	Whole       bool        `json:"whole"`              // everything that was in the log
	Events      uint64      `json:"events"`
	Commits     uint64      `json:"commits"`
	Streams     uint64      `json:"streams"`
	Transitions uint64      `json:"transitions"` // of sagas; a whole archive has them
	First       es.Revision `json:"firstRevision"`
	Last        es.Revision `json:"lastRevision"`
	// Gateways says up to which revision each had delivered, by its queue's name; a whole archive has it.
	Gateways map[string]es.Revision `json:"gateways,omitempty"`
	SHA256   string                 `json:"sha256"` // of all lines above, each with its line feed
}

// entry is a line that is no event of the log.
type entry struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// counted keeps the figures of a proof while lines pass by, and that every stream has all its versions.
type counted struct {
	Proof
	sum      hash.Hash
	versions map[string]uint64 // of each stream's last event
}

func newCounted() *counted {
	return &counted{sum: sha256.New(), versions: map[string]uint64{}}
}

func (c *counted) line(text []byte) {
	c.sum.Write(text) // a hash's Write never fails
	c.sum.Write([]byte{'\n'})
}

func (c *counted) event(e natsstore.CloudEvent) error {
	if before := c.versions[e.Stream()]; e.Number() != before+1 {
		return es.Permanent(fmt.Errorf("%w: version %d of %s follows version %d", es.ErrCorrupt, e.Number(), e.Stream(), before))
	}
	c.versions[e.Stream()] = e.Number()
	c.Events++
	if e.First() {
		c.Commits++
	}
	return nil
}

func (c *counted) proof() Proof {
	p := c.Proof
	p.Streams = uint64(len(c.versions))
	p.SHA256 = hex.EncodeToString(c.sum.Sum(nil))
	return p
}

// archive is what a file holds, handed out line by line.
type archive struct {
	commit     func(line int, commit []natsstore.CloudEvent) error
	transition func(line int, saga, key string, data []byte) error
}

// readArchive reads a file, compressed or not, to its end and checks it against its proof. Permanent errors: it is
// damaged, cut, or no archive; they name the line.
func readArchive(ctx context.Context, r io.Reader, to archive) (Proof, error) {
	in := bufio.NewReader(r)
	var lines io.Reader = in
	if magic, err := in.Peek(4); err == nil && bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		d, err := zstd.NewReader(in)
		if err != nil {
			return Proof{}, es.Permanent(err)
		}
		defer d.Close()
		lines = d
	}
	s := bufio.NewScanner(lines)
	s.Buffer(make([]byte, 0, 64<<10), maxArchiveLine)
	f := &archiveReader{archive: to, counted: newCounted()}
	for s.Scan() {
		f.number++
		if err := ctx.Err(); err != nil {
			return Proof{}, err
		}
		if err := f.read(s.Bytes()); err != nil {
			return Proof{}, fmt.Errorf("line %d: %w", f.number, err)
		}
	}
	if err := s.Err(); err != nil {
		return Proof{}, es.Permanent(fmt.Errorf("the file is damaged after line %d: %w", f.number, err))
	}
	if f.found == nil {
		return Proof{}, es.Permanent(fmt.Errorf("the file ends after line %d without its proof: it is cut, or no archive", f.number))
	}
	return *f.found, nil
}

type archiveReader struct {
	archive
	*counted
	number  int // of the line
	pending []natsstore.CloudEvent
	begin   int // line of pending's first
	found   *Proof
}

func (f *archiveReader) read(line []byte) error {
	if f.found != nil {
		return es.Permanent(errors.New("something follows the proof, which must be last"))
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return es.Permanent(fmt.Errorf("this is no CloudEvent: %w", err))
	}
	if kind.Type == proofType {
		return f.prove(line)
	}
	f.line(line)
	if kind.Type == transitionType {
		return f.readTransition(line)
	}
	var e natsstore.CloudEvent
	if err := strict(line, &e); err != nil {
		return err
	}
	if e.First() {
		if err := f.flush(); err != nil {
			return err
		}
		f.begin = f.number
	}
	f.pending = append(f.pending, e)
	return f.event(e)
}

func (f *archiveReader) readTransition(line []byte) error {
	var e entry
	if err := strict(line, &e); err != nil {
		return err
	}
	process, err := es.ParseStream(e.Subject)
	if err != nil {
		return err
	}
	f.Transitions++
	return f.transition(f.number, process.Category, process.ID, e.Data)
}

// flush hands out the commit whose events have been read.
func (f *archiveReader) flush() error {
	if len(f.pending) == 0 {
		return nil
	}
	commit := f.pending
	f.pending = nil
	if err := f.commit(f.begin, commit); err != nil {
		return fmt.Errorf("commit of line %d: %w", f.begin, err)
	}
	return nil
}

// prove compares what was read with what the proof says.
func (f *archiveReader) prove(line []byte) error {
	if err := f.flush(); err != nil {
		return err
	}
	var e entry
	if err := strict(line, &e); err != nil {
		return err
	}
	var says Proof
	if err := strict(e.Data, &says); err != nil {
		return err
	}
	found := f.proof()
	for _, part := range []struct {
		what        string
		found, says any
	}{
		{"events", found.Events, says.Events}, {"commits", found.Commits, says.Commits}, {"streams", found.Streams, says.Streams},
		{"transitions", found.Transitions, says.Transitions}, {"sha256", found.SHA256, says.SHA256},
	} {
		if part.found != part.says {
			return es.Permanent(fmt.Errorf("the file is damaged: it holds %s %v, its proof says %v", part.what, part.found, part.says))
		}
	}
	if says.Whole && says.Commits != uint64(says.Last) {
		return es.Permanent(fmt.Errorf("the proof contradicts itself: a whole log of %d commits that ends with revision %d", says.Commits, says.Last))
	}
	f.found = &says
	return nil
}

func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return es.Permanent(fmt.Errorf("this is no line of an archive: %w", err))
	}
	return nil
}
