package natsstore

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

const (
	leaderGet  = "$JS.API.STREAM.MSG.GET." + EventsStream // answered by the stream's leader only
	directGet  = "$JS.API.DIRECT.GET." + EventsStream     // answered by any replica, in batches
	streamInfo = "$JS.API.STREAM.INFO." + EventsStream

	readTimeout    = 10 * time.Second // of a read whose context has no end
	attemptTimeout = 2 * time.Second  // of one request to a leader
)

// Log is the event log on JetStream. It is safe for use by many goroutines and lives as long as its connection.
type Log struct {
	codec     *schema.Registry
	publisher *Publisher
	in        *inbox
	pages     chan struct{} // pages under way; the server has no flow control for them
	ranges    chan struct{} // likewise, of ranges

	unsynced   bool        // see Unsynced
	replicated atomic.Bool // EVENTS was seen to have several replicas
}

var _ es.Log = (*Log)(nil)

// NewLog opens the log on a connection to the engine's account, whose streams SetUp has made. Options: Unsynced.
func NewLog(nc *nats.Conn, codec *schema.Registry, options ...func(*Log)) (*Log, error) {
	in, err := newInbox(nc)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("subscribe to answers: %w", err))
	}
	l := &Log{codec: codec, publisher: NewPublisher(nc), in: in, pages: make(chan struct{}, maxPages), ranges: make(chan struct{}, maxRanges)}
	for _, option := range options {
		option(l)
	}
	return l, nil
}

// Append stores a commit as one message, so whole or not at all. See es.Log.
func (l *Log) Append(ctx context.Context, c es.Commit) (es.Revision, error) {
	m, err := encode(l.codec, c)
	if err != nil {
		return 0, err
	}
	return l.publisher.append(ctx, m, c.Expected)
}

// Decode reads a stored commit. Permanent error, naming subject and revision: it is not one that the engine wrote,
// or one that this program is too old for.
func (l *Log) Decode(subject string, header nats.Header, data []byte, seq uint64) ([]es.Recorded, error) {
	return l.decode(l.codec, subject, parsed(header), data, seq)
}

func (l *Log) decode(codec decoder, subject string, headers iter.Seq2[string, string], data []byte, seq uint64) ([]es.Recorded, error) {
	events, err := decode(codec, subject, headers, data, seq)
	if err != nil {
		return nil, es.Permanent(fmt.Errorf("%s at revision %d does not read as a commit: %w", subject, seq, err))
	}
	return events, nil
}

// Last returns the revision of the stream's last commit as its leader knows it; 0: none.
func (l *Log) Last(ctx context.Context, s es.Stream) (last es.Revision, err error) {
	if err := s.Validate(); err != nil {
		return 0, err
	}
	err = retry(ctx, func(ctx context.Context) error {
		c, err := l.askLast(s)
		if err != nil {
			return err
		}
		last, err = l.lastAnswer(ctx, c)
		return err
	})
	return last, err
}

// LastRevision returns the revision of the whole log's last commit, from the leader; 0: the log is empty.
func (l *Log) LastRevision(ctx context.Context) (es.Revision, error) {
	info, err := l.info(ctx)
	return info.State.Last, err
}

// logInfo is what is asked of the stream's own description.
type logInfo struct {
	Config struct {
		Replicas int `json:"num_replicas"`
	} `json:"config"`
	State struct {
		Last es.Revision `json:"last_seq"`
	} `json:"state"`
	Error *apiError `json:"error"`
}

func (l *Log) info(ctx context.Context) (info logInfo, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		if err := l.fromLeader(ctx, streamInfo, nil, &info); err != nil {
			return err
		}
		if info.Error != nil {
			return fmt.Errorf("stream %s: %w", EventsStream, info.Error.classify())
		}
		return nil
	})
	return info, err
}

// At returns the events of the commit at one revision, read from the leader. ErrCorrupt: it is missing, although the
// log is longer. ErrTransient: the log is not that long yet.
func (l *Log) At(ctx context.Context, at es.Revision) ([]es.Recorded, error) {
	if at == 0 {
		return nil, es.Permanent(fmt.Errorf("revision 0 is before the first commit"))
	}
	stored, err := l.get(ctx, request{Seq: uint64(at)})
	if err != nil {
		return nil, err
	}
	if stored == nil {
		last, err := l.LastRevision(ctx)
		if err != nil {
			return nil, err
		}
		if at > last {
			return nil, es.Transient(fmt.Errorf("revision %d is not there yet, the last is %d", at, last))
		}
		return nil, fmt.Errorf("%w: revision %d is missing, the last is %d; restore it from a replica or a backup", es.ErrCorrupt, at, last)
	}
	return l.Decode(stored.Subject, stored.Header, stored.Data, stored.seq)
}

// request is the body of both ways to get messages.
type request struct {
	Seq      uint64 `json:"seq,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
	NoHeader bool   `json:"no_hdr,omitempty"`
}

// get reads one message from the leader; nil: there is none.
func (l *Log) get(ctx context.Context, r request) (*stored, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, es.Permanent(err)
	}
	var found *stored
	err = retry(ctx, func(ctx context.Context) error {
		var answer struct {
			Message *struct {
				Subject string `json:"subject"`
				Seq     uint64 `json:"seq"`
				Header  []byte `json:"hdrs"`
				Data    []byte `json:"data"`
			} `json:"message"`
			Error *apiError `json:"error"`
		}
		if err := l.fromLeader(ctx, leaderGet, body, &answer); err != nil {
			return err
		}
		m := answer.Message
		switch {
		case answer.Error != nil && answer.Error.ErrCode == codeNotFound:
			return nil
		case answer.Error != nil:
			return fmt.Errorf("stream %s: %w", EventsStream, answer.Error.classify())
		case m == nil:
			return es.Permanent(fmt.Errorf("%s answered neither a message nor an error", leaderGet))
		}
		found = &stored{Msg: &nats.Msg{Subject: m.Subject, Data: m.Data}, seq: m.Seq}
		if len(m.Header) == 0 {
			return nil
		}
		var err error
		if found.Header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return es.Permanent(fmt.Errorf("%s at revision %d: %w", m.Subject, m.Seq, err))
		}
		return nil
	})
	return found, err
}

// fromLeader makes one request that only a leader answers.
func (l *Log) fromLeader(ctx context.Context, subject string, body []byte, answer any) error {
	c, err := l.in.ask(subject, body, true)
	if err != nil {
		return err
	}
	return read(ctx, c, subject, answer)
}

// askLast asks the leader for a stream's last commit; lastAnswer waits for its revision.
func (l *Log) askLast(s es.Stream) (*call, error) {
	return l.in.ask(leaderGet, []byte(`{"last_by_subj":"`+Subject(s)+`","no_hdr":true}`), true)
}

func (l *Log) lastAnswer(ctx context.Context, c *call) (es.Revision, error) {
	var answer struct {
		Message struct {
			Seq es.Revision `json:"seq"`
		} `json:"message"`
		Error *apiError `json:"error"`
	}
	if err := read(ctx, c, leaderGet, &answer); err != nil {
		return 0, err
	}
	if e := answer.Error; e != nil && e.ErrCode != codeNotFound {
		return 0, fmt.Errorf("stream %s: %w", EventsStream, e.classify())
	}
	return answer.Message.Seq, nil
}

func read(ctx context.Context, c *call, subject string, answer any) error {
	messages, err := c.wait(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	m := messages[0]
	if isStatus(m) {
		return es.Transient(fmt.Errorf("%s: nobody answers (status %s): the stream has no leader, or this account has no JetStream", subject, m.Header.Get("Status")))
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return es.Permanent(fmt.Errorf("%s: the answer is not JetStream's: %w", subject, err))
	}
	return nil
}

func parseSequence(header nats.Header, name string) (uint64, error) {
	text, err := one(header, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("header %s: %w", name, err)
	}
	return n, nil
}

func one(header nats.Header, name string) (string, error) {
	switch values := header[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", fmt.Errorf("header %s stands %d times", name, len(values))
	}
}
