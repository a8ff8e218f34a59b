package ops

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// KeyRing is every key, in memory, as the bucket has them: what one process creates or revokes, all know a moment
// later. While the servers cannot be reached it stays as it was. It is safe for concurrent use.
type KeyRing struct {
	mu      sync.RWMutex
	keys    map[string]Key
	watcher jetstream.KeyWatcher
	ended   chan struct{}
}

// Follow returns a ring that holds every key there is, and follows what becomes of them until it is closed. ctx is
// for the beginning only.
func (s *Keys) Follow(ctx context.Context, log *slog.Logger) (*KeyRing, error) {
	bucket, err := s.js.KeyValue(ctx, natsstore.KeysBucket)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("bucket %s: %w", natsstore.KeysBucket, err))
	}
	watcher, err := bucket.WatchAll(context.WithoutCancel(ctx))
	if err != nil {
		return nil, es.Transient(fmt.Errorf("follow bucket %s: %w", natsstore.KeysBucket, err))
	}
	r := &KeyRing{keys: map[string]Key{}, watcher: watcher, ended: make(chan struct{})}
	for {
		select {
		case entry, open := <-watcher.Updates():
			if open && entry != nil {
				if err := r.take(entry); err != nil {
					return nil, fmt.Errorf("%w, %w", err, watcher.Stop())
				}
				continue
			}
			if !open {
				return nil, es.Transient(fmt.Errorf("bucket %s cannot be followed any more", natsstore.KeysBucket))
			}
			go r.follow(log) // nil: all that was there has come
			return r, nil
		case <-ctx.Done():
			_ = watcher.Stop() // the deadline says more
			return nil, es.Transient(fmt.Errorf("read bucket %s: %w", natsstore.KeysBucket, ctx.Err()))
		}
	}
}

func (r *KeyRing) follow(log *slog.Logger) {
	defer close(r.ended)
	for entry := range r.watcher.Updates() {
		if entry == nil {
			continue
		}
		if err := r.take(entry); err != nil {
			log.Error("an API key cannot be read, so it opens nothing", "key", entry.Key(), "error", err)
		}
	}
}

// take keeps what a key has become. One that cannot be read, or was deleted, opens nothing.
func (r *KeyRing) take(entry jetstream.KeyValueEntry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, entry.Key())
	if entry.Operation() != jetstream.KeyValuePut {
		return nil
	}
	k, err := decodeKey(entry.Value())
	if err != nil {
		return err
	}
	r.keys[entry.Key()] = k
	return nil
}

// Lookup returns a key by its id.
func (r *KeyRing) Lookup(id string) (Key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.keys[id]
	return k, ok
}

// Close stops following.
func (r *KeyRing) Close() error {
	err := r.watcher.Stop()
	<-r.ended
	return err
}
