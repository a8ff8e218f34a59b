// Package ops holds what operators do to a running system, such as a bulk import: the logic, without a terminal.
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
	"hash/fnv"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Line is one line of an import file. Lines of one stream are sent in their order, those of different streams side
// by side.
type Line struct {
	Stream      string          `json:"stream"` // category/id
	Type        string          `json:"type"`
	ID          string          `json:"id,omitempty"` // of the command; default: made from the line, so that a repeated import repeats it
	Data        json.RawMessage `json:"data,omitempty"`
	User        string          `json:"user,omitempty"`
	Correlation string          `json:"correlation,omitempty"`
	Wait        bool            `json:"wait,omitempty"` // alone on a line: what stands above is answered before what stands below is sent
}

// ImportConfig is what Import needs. Send must be set.
type ImportConfig struct {
	Send        Sender
	Concurrency int           // commands in flight; default 64
	Patience    time.Duration // how long a command is sent again when the answer is "later"; default 1 minute
	Progress    func(bytes int64, s Summary)
	Fault       func(Fault) // one line that was not taken
}

// Fault is a line that was not taken, with the answer that says why.
type Fault struct {
	Line   int      `json:"line"` // counting from 1
	Stream string   `json:"stream,omitempty"`
	Type   string   `json:"type,omitempty"`
	Reply  es.Reply `json:"reply"`
}

// Summary counts the lines by what became of them.
type Summary struct {
	Lines     int     `json:"lines"`
	Accepted  int     `json:"accepted"`
	Unchanged int     `json:"unchanged"`
	Rejected  int     `json:"rejected"`
	Invalid   int     `json:"invalid"`
	Unknown   int     `json:"unknown"` // no answer within the patience
	Failed    int     `json:"failed"`
	Seconds   float64 `json:"seconds"`
}

// Rate is lines per second.
func (s Summary) Rate() float64 {
	if s.Seconds == 0 {
		return 0
	}
	return float64(s.Lines) / s.Seconds
}

// maxLine bounds what is read of a line: a body of 1 MiB, its envelope, and room for white space.
const maxLine = 2 << 20

// Import reads lines of JSON and sends each as a command. A line that is not taken is reported and the rest goes on.
// Errors: r cannot be read, or ctx ended; what was sent until then is in the summary, and importing the same
// file again is safe for streams that have taken no more than 256 commits since its first line for them: a repeated
// command id takes effect once within so many.
func Import(ctx context.Context, r io.Reader, c ImportConfig) (Summary, error) {
	if c.Concurrency <= 0 {
		c.Concurrency = 64
	}
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	im := importer{ImportConfig: c, begun: time.Now(), lanes: make([]chan job, c.Concurrency), seen: map[[16]byte]int{}}
	for i := range im.lanes {
		im.lanes[i] = make(chan job, 8)
		im.workers.Go(func() {
			for j := range im.lanes[i] {
				im.deliver(ctx, j)
				im.pending.Done()
			}
		})
	}
	err := im.read(ctx, bufio.NewReaderSize(r, 64<<10))
	for _, lane := range im.lanes {
		close(lane)
	}
	im.workers.Wait()
	im.summary.Seconds = time.Since(im.begun).Seconds()
	return im.summary, err
}

type job struct {
	line  int
	bytes int64
	req   es.Request
}

type importer struct {
	ImportConfig
	begun   time.Time
	lanes   []chan job // a stream always takes the same lane, which keeps its order
	workers sync.WaitGroup
	pending sync.WaitGroup
	seen    map[[16]byte]int // lines without an id, by content

	mu      sync.Mutex // guards what follows, and makes Progress and Fault one call at a time
	bytes   int64
	summary Summary
}

func (im *importer) read(ctx context.Context, r *bufio.Reader) error {
	for number := 1; ; number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, size, err := readLine(r)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if len(bytes.TrimSpace(text)) > 0 || size > maxLine {
			im.dispatch(number, text, size)
		}
		if last {
			return nil
		}
	}
}

func (im *importer) dispatch(number int, text []byte, size int64) {
	line, err := im.parse(text, size)
	if err == nil && line.Wait {
		im.pending.Wait()
		return
	}
	j := job{line: number, bytes: size, req: es.Request{Type: line.Type, Data: line.Data}}
	if err == nil {
		j.req.Meta = es.Meta{CommandID: line.ID, User: line.User, Correlation: line.Correlation}
		j.req.Meta.Stream, err = es.ParseStream(line.Stream)
	}
	if err != nil {
		reply := answer(j.req, es.Invalid, http.StatusBadRequest, err)
		reply.Stream = line.Stream
		im.done(j, reply)
		return
	}
	lane := fnv.New32a()
	lane.Write([]byte(line.Stream)) // a hash's Write never fails
	im.pending.Add(1)
	im.lanes[lane.Sum32()%uint32(len(im.lanes))] <- j
}

// parse reads one line strictly: a field that nobody knows is a spelling mistake, not a field to drop.
func (im *importer) parse(text []byte, size int64) (Line, error) {
	var line Line
	if size > maxLine {
		return line, &es.InvalidError{Code: "too_large", Message: fmt.Sprintf("the line has %d bytes, at most %d are read", size, maxLine)}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&line); err != nil {
		return line, &es.InvalidError{Code: "malformed", Message: err.Error()}
	}
	if d.InputOffset() != int64(len(bytes.TrimRight(text, " \t\r\n"))) {
		return line, &es.InvalidError{Code: "malformed", Message: "the line goes on after the JSON object"}
	}
	if line.Wait {
		if line.Stream != "" || line.Type != "" || line.Data != nil {
			return line, &es.InvalidError{Code: "malformed", Message: `"wait" stands alone on its line`}
		}
		return line, nil
	}
	if line.Data == nil {
		line.Data = json.RawMessage("{}")
	}
	if line.ID == "" {
		line.ID = im.idOf(line)
	}
	return line, nil
}

// idOf makes the same id for the same line at every import; the second of two equal lines gets another one.
func (im *importer) idOf(l Line) string {
	var compact bytes.Buffer
	if err := json.Compact(&compact, l.Data); err != nil {
		compact.Write(l.Data) // not reached: the line's decoder has read it
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s", l.Stream, l.Type, compact.Bytes())
	key := [16]byte(h.Sum(nil))
	im.seen[key]++
	return fmt.Sprintf("import-%s-%d", hex.EncodeToString(key[:]), im.seen[key])
}

// deliver sends one command, again and again while the answer is "later".
func (im *importer) deliver(ctx context.Context, j job) {
	if ctx.Err() != nil {
		return
	}
	deadline := time.Now().Add(im.Patience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		// The answer to what is on its way is worth waiting for, also when the import is being stopped.
		reply := im.Send(context.WithoutCancel(ctx), j.req)
		if !later(reply) || time.Now().Add(pause).After(deadline) {
			im.done(j, reply)
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			im.done(j, reply)
			return
		}
	}
}

func later(r es.Reply) bool {
	switch r.Outcome {
	case es.UnknownOutcome, es.Conflict:
		return true
	case es.Failed:
		return r.Error != nil && r.Error.Status == http.StatusServiceUnavailable
	default:
		return false
	}
}

func (im *importer) done(j job, reply es.Reply) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.bytes += j.bytes
	s := &im.summary
	s.Lines++
	s.Seconds = time.Since(im.begun).Seconds()
	counter := map[es.OutcomeKind]*int{
		es.Accepted: &s.Accepted, es.Unchanged: &s.Unchanged, es.RejectedReply: &s.Rejected, es.Invalid: &s.Invalid, es.UnknownOutcome: &s.Unknown,
	}[reply.Outcome]
	if counter == nil {
		counter = &s.Failed
	}
	*counter++
	if reply.Outcome != es.Accepted && reply.Outcome != es.Unchanged && im.Fault != nil {
		im.Fault(Fault{Line: j.line, Stream: reply.Stream, Type: j.req.Type, Reply: reply})
	}
	if im.Progress != nil {
		im.Progress(im.bytes, *s)
	}
}

// readLine reads up to and with the next newline and returns the text (cut when longer than maxLine) and its true
// size in bytes. io.EOF comes with the last line.
func readLine(r *bufio.Reader) (text []byte, size int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		size += int64(len(part))
		if size <= maxLine {
			text = append(text, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, size, err
		}
	}
}
