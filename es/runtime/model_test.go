package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/schema"
)

// TestTheExecutorEqualsItsModel drives two processes on one log, and a model that does at once what they do by way
// of caches, snapshots and retries: commands alone and together, repeated, with another body, expecting a version;
// acknowledgements that get lost; processes that die; snapshots that lie; and power cuts after which the log is
// shorter than the snapshots know.
func TestTheExecutorEqualsItsModel(t *testing.T) {
	t.Parallel()
	schemas, err := schema.New(potsDomain())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{T: t, schemas: schemas, log: &lossyLog{Log: estest.NewLog(schemas)}, store: newMemorySnapshots(), past: []potsModel{{}}}
		m.restart(0)
		m.restart(1)
		rt.Repeat(map[string]func(*rapid.T){
			"command":        m.command,
			"together":       m.together,
			"repeat":         m.repeat,
			"reuse an id":    m.reuse,
			"expect":         m.expect,
			"lose an answer": m.lose,
			"crash":          func(rt *rapid.T) { m.restart(rapid.IntRange(0, 1).Draw(rt, "node")) },
			"write snapshot": func(*rapid.T) { m.nodes[0].writeSnapshots(); m.nodes[1].writeSnapshots() },
			"lie":            m.lie,
			"cut the power":  m.cut,
			"":               m.check,
		})
	})
}

var potIDs = []string{"a", "b", "c"}

// potsModel is the truth at a revision.
type potsModel map[string]potModel

type potModel struct {
	coins    int
	version  uint64
	revision es.Revision
	seen     map[string]modelReply // by command id
}

type modelReply struct {
	version  uint64
	revision es.Revision
	sent     string // as describe tells it
}

type machine struct {
	*testing.T
	schemas *schema.Registry
	log     *lossyLog
	store   *memorySnapshots
	nodes   [2]*executor
	past    []potsModel    // at each revision
	sent    [][]es.Request // commands, some of them together, as clients may send them again
}

// lossyLog loses the answers to as many appends as told, of commits that were stored or were not.
type lossyLog struct {
	es.Log
	lose   int
	stored bool
}

func (l *lossyLog) Append(ctx context.Context, c es.Commit) (es.Revision, error) {
	return l.AppendAll(ctx, c)
}

func (l *lossyLog) AppendAll(ctx context.Context, commits ...es.Commit) (es.Revision, error) {
	if l.lose == 0 {
		return l.Log.AppendAll(ctx, commits...)
	}
	l.lose--
	if l.stored {
		if _, err := l.Log.AppendAll(ctx, commits...); err != nil {
			return 0, err
		}
	}
	return 0, es.ErrUnknownOutcome
}

func (m *machine) restart(node int) { m.nodes[node] = snapshotting(m.T, m.log, m.store, 3) }

func drawCommand(rt *rapid.T) es.Command {
	if rapid.Bool().Draw(rt, "put") {
		return putCoins{rapid.IntRange(0, 3).Draw(rt, "coins")}
	}
	return takeCoins{Coins: rapid.IntRange(1, 4).Draw(rt, "coins")}
}

func (m *machine) command(rt *rapid.T) {
	r := request(rapid.SampledFrom(potIDs).Draw(rt, "pot"), drawCommand(rt), fmt.Sprintf("c-%d", len(m.sent)))
	m.send(rt, r)
}

func (m *machine) together(rt *rapid.T) {
	ids := rapid.Permutation(potIDs).Draw(rt, "pots")[:rapid.IntRange(2, 3).Draw(rt, "how many")]
	var requests []es.Request
	for _, id := range ids {
		requests = append(requests, request(id, drawCommand(rt), fmt.Sprintf("c-%d", len(m.sent))))
	}
	m.send(rt, requests...)
}

func (m *machine) repeat(rt *rapid.T) {
	if len(m.sent) == 0 {
		rt.Skip()
	}
	m.send(rt, m.sent[rapid.IntRange(0, len(m.sent)-1).Draw(rt, "again")]...)
}

// reuse sends an id that was used with another body, which only a pot that remembers it refuses.
func (m *machine) reuse(rt *rapid.T) {
	if len(m.sent) == 0 {
		rt.Skip()
	}
	of := m.sent[rapid.IntRange(0, len(m.sent)-1).Draw(rt, "of")][0]
	r := request(of.Meta.Stream.ID, putCoins{99}, of.Meta.CommandID)
	m.send(rt, r)
}

func (m *machine) expect(rt *rapid.T) {
	id := rapid.SampledFrom(potIDs).Draw(rt, "pot")
	r := request(id, drawCommand(rt), fmt.Sprintf("c-%d", len(m.sent)))
	version := m.now()[id].version + rapid.Uint64Range(0, 1).Draw(rt, "too many")
	r.Expected = &version
	m.send(rt, r)
}

func (m *machine) lose(rt *rapid.T) {
	m.log.lose, m.log.stored = rapid.IntRange(1, 2).Draw(rt, "answers"), rapid.Bool().Draw(rt, "stored")
}

// lie changes what a snapshot says, or stores that of another pot.
func (m *machine) lie(rt *rapid.T) {
	s := pots.Stream(rapid.SampledFrom(potIDs).Draw(rt, "pot"))
	data := slices.Clone(m.store.data[s])
	switch other := m.store.data[pots.Stream(rapid.SampledFrom(potIDs).Draw(rt, "other"))]; {
	case rapid.Bool().Draw(rt, "swap"):
		data = other
	case len(data) > 0:
		data[rapid.IntRange(0, len(data)-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
	}
	if data != nil {
		m.store.data[s] = data
	}
}

// cut ends both processes and takes the log's tail away, as in fast mode; what was stored together is lost together.
func (m *machine) cut(rt *rapid.T) {
	m.nodes[0].writeSnapshots()
	m.nodes[1].writeSnapshots()
	keep := rapid.IntRange(0, len(m.past)-1).Draw(rt, "revisions kept")
	for m.past[keep] == nil {
		keep--
	}
	shorter := estest.NewLog(m.schemas)
	all, err := m.log.Log.(*estest.Log).All(0)
	if err != nil {
		rt.Fatal(err)
	}
	last := map[es.Stream]es.Revision{}
	for _, r := range all[:min(len(all), keep)] { // every commit here has one event
		revision, err := shorter.Append(context.Background(), es.Commit{Stream: r.Stream, Expected: last[r.Stream], Events: []es.Recorded{r}})
		if err != nil || revision != r.Revision {
			rt.Fatalf("revision %d instead of %d: %v", revision, r.Revision, err)
		}
		last[r.Stream] = revision
	}
	m.past = m.past[:keep+1]
	m.log = &lossyLog{Log: shorter}
	m.restart(0)
	m.restart(1)
}

func (m *machine) now() potsModel { return m.past[len(m.past)-1] }

// send executes on one of the nodes and compares with what the model says.
func (m *machine) send(rt *rapid.T, requests ...es.Request) {
	m.sent = append(m.sent, requests)
	x := m.nodes[rapid.IntRange(0, 1).Draw(rt, "node")]
	want, code := m.decide(requests)
	ctx := context.Background()
	var got []es.Reply
	found := ""
	if len(requests) == 1 {
		reply := x.execute(ctx, requests[0])
		got = []es.Reply{reply}
		if reply.Error != nil {
			found = reply.Error.Code
		}
	} else {
		var err error
		if got, err = x.executeAll(ctx, slices.Clone(requests)); err != nil {
			found = Problem(err).Code
		}
	}
	if found != code {
		rt.Fatalf("%s ended with %q, want %q", describe(requests), found, code)
	}
	if code != "" {
		return
	}
	for i := range got {
		got[i].Events = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("%s (-want +got):\n%s", describe(requests), diff)
	}
}

func describe(requests []es.Request) string {
	text := requests[0].Meta.CommandID
	for _, r := range requests {
		text += fmt.Sprintf(" %s %s %s", r.Meta.Stream.ID, r.Type, r.Data)
	}
	return text
}

// decide is the model's executor: replies, or the code of the refusal.
func (m *machine) decide(requests []es.Request) (replies []es.Reply, code string) {
	before := m.now()
	seen := func(r es.Request) (modelReply, bool) {
		reply, ok := before[r.Meta.Stream.ID].seen[r.Meta.CommandID]
		return reply, ok
	}
	after := maps.Clone(before)
	repeated := slices.ContainsFunc(requests, func(r es.Request) bool { _, ok := seen(r); return ok })
	revision := es.Revision(len(m.past) - 1)
	for _, r := range requests {
		id := r.Meta.Stream.ID
		p := before[id]
		reply := es.Reply{CommandID: r.Meta.CommandID, Outcome: es.Unchanged, Stream: r.Meta.Stream.String(), Revision: p.revision, Version: p.version, Durability: es.Fast}
		if known, ok := seen(r); ok {
			if known.sent != describe(requests) {
				return nil, "id_reused"
			}
			reply.Outcome, reply.Revision, reply.Version = es.Accepted, known.revision, known.version
		}
		replies = append(replies, reply)
		if repeated {
			continue
		}
		if r.Expected != nil && *r.Expected != p.version {
			return nil, "conflict"
		}
		change := 0
		command, err := m.schemas.Command("pot", r.Type)
		if err != nil {
			panic(err)
		}
		decoded, err := command.Decode(r.Data)
		if err != nil {
			panic(err)
		}
		switch c := decoded.(type) {
		case putCoins:
			change = c.Coins
		case takeCoins:
			change = -c.Coins
		}
		if p.coins+change < 0 {
			code = "too_few_coins"
		}
		if change == 0 {
			continue
		}
		revision++
		p.coins, p.version, p.revision = p.coins+change, p.version+1, revision
		p.seen = maps.Clone(p.seen)
		if p.seen == nil {
			p.seen = map[string]modelReply{}
		}
		p.seen[r.Meta.CommandID] = modelReply{p.version, revision, describe(requests)}
		after[id] = p
		last := &replies[len(replies)-1]
		last.Outcome, last.Revision, last.Version = es.Accepted, revision, p.version
	}
	if code != "" || repeated {
		return replies, code
	}
	for len(m.past) <= int(revision) {
		m.past = append(m.past, nil) // inside of what is stored together there is no state
	}
	m.past[revision] = after
	return replies, ""
}

// check compares the log with the model.
func (m *machine) check(rt *rapid.T) {
	for _, id := range potIDs {
		want := m.now()[id]
		h, err := m.log.Load(context.Background(), pots.Stream(id), es.Range{})
		if err != nil || uint64(len(h.Events)) != want.version || h.Revision != want.revision {
			rt.Fatalf("pot %s has %d events up to revision %d, want %d up to %d: %v", id, len(h.Events), h.Revision, want.version, want.revision, err)
		}
		for _, x := range m.nodes {
			inst, err := x.load(context.Background(), pots.Stream(id))
			if err != nil || inst.state.State() != (pot{want.coins}) || inst.version != want.version || inst.revision != want.revision {
				rt.Fatalf("pot %s is loaded as %+v, want %+v: %v", id, inst, want, err)
			}
		}
	}
}
