package runtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/millstream-es/millstream/es"
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
	streams    keyedMutex // within the process, so that writers of one aggregate queue instead of conflicting
	metrics    *metrics
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
	seen     map[string]commit // by command id
	order    []string          // the same ids, oldest first
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
		i.revision, i.version = r.Revision, r.Version
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
	reply := x.decide(ctx, r)
	if err := x.durability.reach(ctx, reply.Revision); err != nil {
		reply = es.Reply{CommandID: reply.CommandID, Stream: reply.Stream, Outcome: outcome(err), Error: Problem(err)}
	}
	x.metrics.command(r.Meta.Stream.Category, r.Type, reply.Outcome, time.Since(began))
	return reply
}

// decide carries a command to its commit, holding its stream's lock; not for the disk, so that the next command of
// the stream can share the sync.
func (x *executor) decide(ctx context.Context, r es.Request) (reply es.Reply) {
	reply = es.Reply{CommandID: r.Meta.CommandID, Stream: r.Meta.Stream.String(), Durability: x.durability.mode}
	refuse := func(err error, allowed []string) es.Reply {
		reply.Outcome, reply.Error = outcome(err), Problem(err)
		reply.Error.Allowed = allowed
		if reply.Outcome == es.Failed || reply.Outcome == es.Invalid {
			reply.Durability = ""
		}
		if reply.Error.Code == "internal" {
			x.metrics.failure(err)
		}
		return reply
	}
	command, err := x.schemas.Command(r.Meta.Stream.Category, r.Type)
	if err != nil {
		return refuse(err, nil)
	}
	if err := r.Meta.Stream.Validate(); err != nil {
		return refuse(err, nil)
	}
	decoded, err := command.Decode(r.Data)
	if err != nil {
		return refuse(err, nil)
	}
	r.Meta.RequestHash = schema.RequestHash(r.Type, r.Data)
	r.Meta.Time = x.now().UTC().Truncate(time.Microsecond)
	if r.Meta.Correlation == "" {
		r.Meta.Correlation = r.Meta.CommandID
	}

	unlock := x.streams.lock(r.Meta.Stream)
	defer unlock()
	pause := newBackoff(time.Millisecond, 100*time.Millisecond)
	uncertain := false // an append whose answer was lost may still have happened
	for attempt := 1; ; attempt++ {
		done, allowed, err := x.attempt(ctx, r, decoded, &reply)
		if err == nil && done {
			return reply
		}
		if err == nil {
			continue // the cached state was not the newest
		}
		uncertain = uncertain || errors.Is(err, es.ErrUnknownOutcome)
		again := errors.Is(err, es.ErrUnknownOutcome) ||
			errors.Is(err, es.ErrConflict) && !errors.Is(err, errUnexpected) && (r.Expected == nil || uncertain) && attempt < appendAttempts
		if again {
			x.cache.Invalidate(r.Meta.Stream)
			if pause.wait(ctx) {
				continue
			}
		}
		if uncertain && errors.Is(err, es.ErrTransient) && !errors.Is(err, errUnexpected) {
			err = es.ErrUnknownOutcome
		}
		return refuse(err, allowed)
	}
}

// errUnexpected is the conflict that no reload can mend: the caller decided on another version.
var errUnexpected = fmt.Errorf("%w: not the version expected", es.ErrConflict)

// attempt decides once. done is false, without an error, when a cached state proved old.
func (x *executor) attempt(ctx context.Context, r es.Request, command es.Command, reply *es.Reply) (done bool, allowed []string, err error) {
	inst, fresh, err := x.instance(ctx, r.Meta.Stream)
	if err != nil {
		return false, nil, err
	}
	// What is answered without appending must have been decided on the newest state.
	newest := func() bool {
		if fresh {
			return true
		}
		var last es.Revision
		if last, err = x.log.Last(ctx, r.Meta.Stream); err == nil && last != inst.revision {
			x.cache.Invalidate(r.Meta.Stream)
			return false
		}
		return err == nil
	}
	if c, known := inst.seen[r.Meta.CommandID]; known {
		if c.hash != r.Meta.RequestHash {
			return false, nil, &es.InvalidError{Code: "id_reused", Message: fmt.Sprintf("command id %q was used for another command on %s: take a new id", r.Meta.CommandID, r.Meta.Stream)}
		}
		reply.Outcome, reply.Revision, reply.Version, reply.Events = es.Accepted, c.revision, c.version, c.events
		return true, nil, nil
	}
	if r.Expected != nil && *r.Expected != inst.version {
		if !newest() {
			return false, nil, err
		}
		reply.Revision, reply.Version = inst.revision, inst.version
		return false, nil, unexpected(*r.Expected, inst.version)
	}
	events, decideErr := inst.decide(command, r.Meta)
	if decideErr != nil || len(events) == 0 {
		if !newest() {
			return false, nil, err
		}
		reply.Revision, reply.Version = inst.revision, inst.version
		if decideErr != nil {
			return false, inst.state.Allowed(), decideErr
		}
		reply.Outcome = es.Unchanged
		return true, nil, nil
	}
	c := es.Commit{Stream: r.Meta.Stream, Expected: inst.revision}
	for i, e := range events {
		c.Events = append(c.Events, es.Recorded{Event: e, Meta: r.Meta, ID: fmt.Sprintf("%s/%d", r.Meta.CommandID, i+1), Version: inst.version + uint64(i) + 1})
	}
	began := time.Now()
	revision, err := x.log.Append(ctx, c)
	x.metrics.append(time.Since(began), err)
	if err != nil {
		return false, nil, err
	}
	x.durability.acknowledged(revision)
	for i := range c.Events {
		c.Events[i].Revision = revision
	}
	if err := inst.add(c.Events); err != nil {
		x.cache.Invalidate(r.Meta.Stream) // stored all the same: the next load says what is wrong
	} else {
		x.cache.Set(r.Meta.Stream, inst)
	}
	reply.Outcome, reply.Revision, reply.Version = es.Accepted, revision, inst.version
	for _, e := range events {
		reply.Events = append(reply.Events, e.EventType())
	}
	return true, nil, nil
}

// instance returns the aggregate, from the cache or loaded; fresh says that it was just loaded.
func (x *executor) instance(ctx context.Context, s es.Stream) (inst *instance, fresh bool, err error) {
	if inst, ok := x.cache.GetIfPresent(s); ok {
		x.metrics.cacheHits.Inc()
		return inst, false, nil
	}
	x.metrics.cacheMisses.Inc()
	aggregate, err := x.schemas.Aggregate(s.Category)
	if err != nil {
		return nil, false, err
	}
	history, err := x.log.Load(ctx, s, es.Range{})
	if err != nil {
		return nil, false, fmt.Errorf("load %s: %w", s, err)
	}
	inst = &instance{state: aggregate.New(), seen: map[string]commit{}}
	if err := inst.add(history.Events); err != nil {
		return nil, false, err
	}
	x.cache.Set(s, inst)
	return inst, true, nil
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
