package runtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

const (
	rememberedCommands = 256    // commits of an aggregate in which its command ids are known
	cachedAggregates   = 10_000 // states kept folded
	appendAttempts     = 30     // decisions taken anew after conflicts before the caller hears of them
)

// executor turns commands into commits: load, look for the command's id, decide, append. It never holds a lock across
// processes: the guard on the log is the only fence.
type executor struct {
	log        es.Log
	schemas    *schema.Registry
	durability *durability
	now        func() time.Time
	cache      *otter.Cache[es.Stream, *instance]
	snapshots  *snapshots // nil: every load reads the whole history
	streams    keyedMutex // within the process, so that writers of one aggregate queue instead of conflicting
	metrics    *metrics
	tracing    *tracing // nil: nobody wants spans
}

func newExecutor(log es.Log, schemas *schema.Registry, d *durability, m *metrics) *executor {
	return &executor{
		log: log, schemas: schemas, durability: d, metrics: m,
		now:   time.Now,
		cache: otter.Must(&otter.Options[es.Stream, *instance]{MaximumSize: cachedAggregates}),
	}
}

// instance is an aggregate at a revision, with the commands it remembers. It is used under its stream's lock.
type instance struct {
	state    es.Folded
	revision es.Revision
	version  uint64
	eventID  string            // of the last event
	time     time.Time         // of the last event
	seen     map[string]commit // by command id
	order    []string          // the same ids, oldest first

	snapshotted uint64 // version of the last snapshot; 0: none
}

// commit is what is remembered of one, to answer its command again.
type commit struct {
	hash     string
	revision es.Revision
	version  uint64
	events   []string
}

// add folds events. Permanent error: one is of another aggregate, or the domain's code panics at it.
func (i *instance) add(events []es.Recorded) (err error) {
	defer recovered(&err)
	for _, r := range events {
		next, err := i.state.Evolve(r.Event)
		if err != nil {
			return fmt.Errorf("%s at revision %d: %w", r.Stream, r.Revision, err)
		}
		i.state = next
		c, known := i.seen[r.CommandID]
		if !known {
			if len(i.order) == rememberedCommands {
				delete(i.seen, i.order[0])
				i.order = i.order[1:]
			}
			i.order = append(i.order, r.CommandID)
		}
		c.hash, c.revision, c.version = r.RequestHash, r.Revision, r.Version
		c.events = append(c.events, r.EventType())
		i.seen[r.CommandID] = c
		i.revision, i.version, i.eventID, i.time = r.Revision, r.Version, r.ID, r.Time
	}
	return nil
}

// decide asks the domain. What is none of the three kinds of error can only be a fault in its code.
func (i *instance) decide(c es.Command, m es.Meta) (events []es.Event, err error) {
	defer recovered(&err)
	events, err = i.state.Decide(c, m)
	if err == nil || errors.Is(err, es.ErrRejected) || errors.Is(err, es.ErrTransient) {
		return events, err
	}
	return nil, es.Permanent(err)
}

// recovered makes a panic of the domain's code a permanent error: one command fails, the process goes on.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = es.Permanent(fmt.Errorf("panic in the domain: %v\n%s", r, debug.Stack()))
	}
}

// execute carries one command to its end: what the reply stands on is durable when it returns, also for a rejection or
// a repeated answer. Meta.CommandID is set.
func (x *executor) execute(ctx context.Context, r es.Request) es.Reply {
	began := time.Now()
	ctx, span := x.tracing.command(ctx, &r)
	turn := x.durability.syncer.Turn()
	defer turn.End()
	reply := x.decide(ctx, r, turn)
	if err := x.durability.arrive(ctx, reply.Revision, turn); err != nil {
		reply = es.Reply{CommandID: reply.CommandID, Stream: reply.Stream, Outcome: outcome(err), Error: Problem(err)}
	}
	x.metrics.command(r.Meta.Stream.Category, r.Type, reply.Outcome, time.Since(began))
	span.replied(reply)
	return reply
}

// decide carries a command to its commit, holding its stream's lock; not for the disk, so that the next command of
// the stream can share the sync.
func (x *executor) decide(ctx context.Context, r es.Request, turn *natsstore.Turn) (reply es.Reply) {
	reply = es.Reply{CommandID: r.Meta.CommandID, Stream: r.Meta.Stream.String(), Durability: x.durability.mode}
	refuse := func(err error, allowed []string) es.Reply {
		reply.Outcome, reply.Error = outcome(err), Problem(err)
		reply.Error.Allowed = allowed
		if reply.Outcome == es.Failed || reply.Outcome == es.Invalid {
			reply.Durability = ""
		}
		if reply.Error.Code == "internal" {
			x.metrics.failure(err, about(r.Meta, 0)...)
		}
		return reply
	}
	decoded, err := x.prepare(&r)
	if err != nil {
		return refuse(err, nil)
	}

	unlock := x.streams.lock(r.Meta.Stream)
	defer unlock()
	var allowed []string
	err = x.persist(ctx, func() (done bool, err error) {
		done, allowed, err = x.attempt(ctx, r, decoded, &reply, turn)
		return done, err
	}, r.Meta.Stream)
	if err != nil {
		return refuse(err, allowed)
	}
	return reply
}

// persist attempts until it is done or fails for good. After a conflict or a lost answer the streams' states are
// loaded anew, which also tells whether what had no answer was stored.
func (x *executor) persist(ctx context.Context, attempt func() (done bool, err error), streams ...es.Stream) error {
	pause := newBackoff(time.Millisecond, 100*time.Millisecond)
	uncertain := false // an append whose answer was lost may still have happened
	for n := 1; ; n++ {
		done, err := attempt()
		if err == nil && done {
			return nil
		}
		if err == nil {
			continue // a cached state was not the newest
		}
		uncertain = uncertain || errors.Is(err, es.ErrUnknownOutcome)
		moved := errors.Is(err, es.ErrConflict) && !errors.Is(err, errUnexpected)
		if errors.Is(err, es.ErrUnknownOutcome) || moved && n < appendAttempts {
			for _, s := range streams {
				x.doubt(s)
			}
			if pause.wait(ctx) {
				continue
			}
		}
		kind := outcome(err)
		if answered := kind == es.RejectedReply || kind == es.Invalid || errors.Is(err, errUnexpected); uncertain && !answered {
			return fmt.Errorf("%w, and could not be learned: %s", es.ErrUnknownOutcome, err.Error())
		}
		return err
	}
}

// prepare checks a request and stamps it.
func (x *executor) prepare(r *es.Request) (es.Command, error) {
	command, err := x.schemas.Command(r.Meta.Stream.Category, r.Type)
	if err != nil {
		return nil, err
	}
	if err := r.Meta.Stream.Validate(); err != nil {
		return nil, err
	}
	if command.Internal && !r.Internal {
		return nil, internalCommand(command)
	}
	decoded, hash, err := command.DecodeHashed(r.Data)
	if err != nil {
		return nil, err
	}
	r.Meta.RequestHash = hash
	r.Meta.Time = x.now().UTC().Truncate(time.Microsecond)
	if r.Meta.Correlation == "" {
		r.Meta.Correlation = r.Meta.CommandID
	}
	return decoded, nil
}

// errUnexpected is the conflict that no reload can mend: the caller decided on another version.
var errUnexpected = fmt.Errorf("%w: not the version expected", es.ErrConflict)

// attempt decides and appends once. done is false, without an error, when a cached state proved old.
func (x *executor) attempt(ctx context.Context, r es.Request, command es.Command, reply *es.Reply, turn *natsstore.Turn) (done bool, allowed []string, err error) {
	d, err := x.consider(ctx, r, command, reply)
	if err != nil || d.stale || len(d.commit.Events) == 0 {
		return err == nil && !d.stale, d.allowed, err
	}
	turn.Begin()
	began := time.Now()
	span := x.tracing.begin(ctx, "append")
	revision, err := x.log.Append(ctx, d.commit)
	span.end(err)
	x.metrics.append(time.Since(began), err)
	if err != nil {
		return false, nil, err
	}
	x.durability.acknowledged(revision)
	x.committed(d, revision, reply)
	return true, nil, nil
}

// decision is what an aggregate makes of a command.
type decision struct {
	inst     *instance
	commit   es.Commit // without events there is nothing to append, and the reply says all
	stale    bool      // the cached state was not the newest: decide anew
	repeated bool      // the command took effect before
	allowed  []string  // beside a rejection
}

// consider decides once and appends nothing.
func (x *executor) consider(ctx context.Context, r es.Request, command es.Command, reply *es.Reply) (d decision, err error) {
	inst, fresh, err := x.instance(ctx, r.Meta.Stream)
	if err != nil {
		return d, err
	}
	d.inst = inst
	// What is answered without appending must have been decided on the newest state.
	newest := func() (bool, error) {
		if fresh {
			return true, nil
		}
		last, err := x.log.Last(ctx, r.Meta.Stream)
		if err == nil && last != inst.revision {
			x.doubt(r.Meta.Stream)
			d.stale = true
		}
		return err == nil && !d.stale, err
	}
	if c, known := inst.seen[r.Meta.CommandID]; known {
		reply.Revision, reply.Version = c.revision, c.version
		if c.hash != r.Meta.RequestHash {
			return d, &es.InvalidError{Code: "id_reused", Message: fmt.Sprintf("command id %q was used for another command on %s: take a new id", r.Meta.CommandID, r.Meta.Stream)}
		}
		reply.Outcome, reply.Events = es.Accepted, c.events
		d.repeated = true
		return d, nil
	}
	if r.Expected != nil && *r.Expected != inst.version {
		if ok, err := newest(); !ok {
			return d, err
		}
		reply.Revision, reply.Version = inst.revision, inst.version
		return d, unexpected(*r.Expected, inst.version)
	}
	began := time.Now()
	span := x.tracing.begin(ctx, "decide")
	events, decideErr := inst.decide(command, r.Meta)
	span.end(decideErr)
	x.metrics.decides.Observe(time.Since(began).Seconds())
	if decideErr != nil || len(events) == 0 {
		if ok, err := newest(); !ok {
			return d, err
		}
		reply.Revision, reply.Version = inst.revision, inst.version
		if decideErr != nil {
			d.allowed = inst.state.Allowed()
			return d, decideErr
		}
		reply.Outcome = es.Unchanged
		return d, nil
	}
	d.commit = es.Commit{Stream: r.Meta.Stream, Expected: inst.revision}
	for i, e := range events {
		d.commit.Events = append(d.commit.Events, es.Recorded{Event: e, Meta: r.Meta, ID: r.Meta.CommandID + "/" + strconv.Itoa(i+1), Version: inst.version + uint64(i) + 1})
	}
	return d, nil
}

// committed takes in what has been appended.
func (x *executor) committed(d decision, revision es.Revision, reply *es.Reply) {
	events := d.commit.Events
	for i := range events {
		events[i].Revision = revision
		reply.Events = append(reply.Events, events[i].EventType())
	}
	reply.Outcome, reply.Revision, reply.Version = es.Accepted, revision, events[len(events)-1].Version
	if err := d.inst.add(events); err != nil {
		x.cache.Invalidate(d.commit.Stream) // stored all the same: the next load says what is wrong
		return
	}
	x.snapshots.offer(d.commit.Stream, d.inst, false)
}

// instance returns the aggregate, from the cache or loaded; fresh says that it was just loaded, by its leader's word.
func (x *executor) instance(ctx context.Context, s es.Stream) (inst *instance, fresh bool, err error) {
	inst, doubted := x.cache.GetIfPresent(s)
	if inst != nil {
		x.metrics.cacheHits.Inc()
		return inst, false, nil
	}
	x.metrics.cacheMisses.Inc()
	if inst, err = x.fold(ctx, s, !doubted); err != nil {
		return nil, false, err
	}
	x.cache.Set(s, inst)
	return inst, doubted, nil
}

// doubt forgets a state that proved old. In its place stands nil: a replica that lags would show the same once more, so
// the next load asks the leader.
func (x *executor) doubt(s es.Stream) { x.cache.Set(s, nil) }

// load returns the aggregate as it stands in the log.
func (x *executor) load(ctx context.Context, s es.Stream) (*instance, error) {
	return x.fold(ctx, s, false)
}

// fold makes an aggregate from its snapshot and what follows, or from its whole history. One that may lag is no worse
// than one in the cache: the guard, or the question for the newest revision, tells.
func (x *executor) fold(ctx context.Context, s es.Stream, mayLag bool) (*instance, error) {
	aggregate, err := x.schemas.Aggregate(s.Category)
	if err != nil {
		return nil, err
	}
	began := x.now()
	inst, lied, err := x.snapshots.restore(ctx, x.log, aggregate, s, mayLag)
	if err != nil {
		return nil, err
	}
	if inst == nil {
		history, err := x.log.Load(ctx, s, es.Range{MayLag: mayLag})
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", s, err)
		}
		inst = &instance{state: aggregate.New(), seen: map[string]commit{}}
		if err := inst.add(history.Events); err != nil {
			return nil, err
		}
	}
	x.snapshots.offer(s, inst, lied || x.now().Sub(began) > costlyLoad)
	return inst, nil
}

// keyedMutex is a mutex per stream, kept only while someone holds or awaits it.
type keyedMutex struct {
	mu   sync.Mutex
	keys map[es.Stream]*countedMutex
}

type countedMutex struct {
	sync.Mutex
	users int
}

func (k *keyedMutex) lock(key es.Stream) (unlock func()) {
	k.mu.Lock()
	if k.keys == nil {
		k.keys = map[es.Stream]*countedMutex{}
	}
	m := k.keys[key]
	if m == nil {
		m = &countedMutex{}
		k.keys[key] = m
	}
	m.users++
	k.mu.Unlock()
	m.Lock()
	return func() {
		m.Unlock()
		k.mu.Lock()
		if m.users--; m.users == 0 {
			delete(k.keys, key)
		}
		k.mu.Unlock()
	}
}
