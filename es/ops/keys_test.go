package ops_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
)

// waitFor waits for a key to be as wanted in a ring.
func waitFor(t *testing.T, ring *ops.KeyRing, id, what string, wanted func(ops.Key, bool) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if k, known := ring.Lookup(id); wanted(k, known) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("key %s is not %s in the ring", id, what)
		}
	}
}

func is(s ops.KeyState) func(ops.Key, bool) bool {
	return func(k ops.Key, known bool) bool { return known && k.State(time.Now()) == s }
}

func follow(t *testing.T, keys *ops.Keys) *ops.KeyRing {
	t.Helper()
	ring, err := keys.Follow(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	})
	return ring
}

func TestKeysAreMadeFollowedAndRevoked(t *testing.T) {
	t.Parallel()
	server := estest.StartServer(t, millstream.NATSConf)
	js := estest.SetUp(t, estest.Connect(t, server.ClientURL(), ""), 1)
	keys := ops.NewKeys(js)
	early := follow(t, keys)

	made, text, err := keys.Create(t.Context(), ops.Key{Name: "ci", Role: "operator", Scopes: []string{"query.ask"}}, "ada@desk")
	if err != nil {
		t.Fatal(err)
	}
	id, hash, ok := ops.ParseKey(text)
	if !ok || id != made.ID || hash != made.Hash || made.CreatedBy != "ada@desk" || made.CreatedAt.IsZero() {
		t.Fatalf("%s is not the key of %+v", text, made)
	}
	_, other, err := keys.Create(t.Context(), ops.Key{Name: "ci", Role: "viewer"}, "ada@desk")
	if err != nil || other == text {
		t.Fatalf("the second key is the first, or %v", err)
	}
	waitFor(t, early, id, "good", is(ops.KeyGood))
	late := follow(t, keys) // knows at once what was there before
	if k, known := late.Lookup(id); !known || k.Hash != hash || k.Scopes[0] != "query.ask" {
		t.Errorf("%+v, %v", k, known)
	}

	revoked, already, err := keys.Revoke(t.Context(), id, "eve@desk", "lost laptop")
	if err != nil || already || revoked.State(time.Now()) != ops.KeyRevoked {
		t.Fatalf("%+v, %v, %v", revoked, already, err)
	}
	waitFor(t, early, id, "revoked", is(ops.KeyRevoked))
	waitFor(t, late, id, "revoked", is(ops.KeyRevoked))
	again, already, err := keys.Revoke(t.Context(), id, "bob@desk", "again")
	if err != nil || !already || again.RevokedBy != "eve@desk" || again.Reason != "lost laptop" {
		t.Errorf("%+v, %v, %v", again, already, err)
	}

	all, err := keys.List(t.Context())
	if err != nil || len(all) != 2 || all[0].ID != id || all[1].Role != "viewer" {
		t.Errorf("%+v, %v", all, err)
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(text, ops.KeyPrefix), "_")
	var kinds []string
	for _, stream := range []string{natsstore.KeysStream, natsstore.OperationsStream} {
		err := natsstore.Scan(t.Context(), js, stream, ">", func(m *jetstream.RawStreamMsg) error {
			if bytes.Contains(m.Data, []byte(secret)) {
				t.Errorf("%s holds the secret", m.Subject)
			}
			if stream == natsstore.OperationsStream {
				var op ops.KeyOperation
				if err := json.Unmarshal(m.Data, &op); err != nil {
					return err
				}
				if op.Key.Hash != "" {
					t.Errorf("%s holds the hash", m.Subject)
				}
				kinds = append(kinds, op.Kind+" by "+op.By+" "+op.Reason)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(kinds, "|"); got != "create by ada@desk |create by ada@desk |revoke by eve@desk lost laptop" {
		t.Errorf("on record is: %s", got)
	}
}

func TestARevocationIsHeardAfterAnOutage(t *testing.T) {
	t.Parallel()
	server := estest.StartServer(t, millstream.NATSConf)
	nc := estest.Connect(t, server.ClientURL(), "")
	keys := ops.NewKeys(estest.SetUp(t, estest.Connect(t, server.ClientURL(), ""), 1))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := keys.Create(t.Context(), ops.Key{Name: "ci", Role: "viewer"}, "ada")
	if err != nil {
		t.Fatal(err)
	}
	ring := follow(t, ops.NewKeys(js))
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keys.Revoke(t.Context(), made.ID, "ada", "test"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ring, made.ID, "revoked", is(ops.KeyRevoked))
}

func TestWhatIsNoKeyOpensNothing(t *testing.T) {
	t.Parallel()
	server := estest.StartServer(t, millstream.NATSConf)
	nc := estest.Connect(t, server.ClientURL(), "")
	bare, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ops.NewKeys(bare).Create(t.Context(), ops.Key{Name: "x", Role: "viewer"}, "ada"); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("without streams: %v", err)
	}
	keys := ops.NewKeys(estest.SetUp(t, nc, 1))
	var missing *es.Rejection
	if _, _, err := keys.Revoke(t.Context(), "ffffffffffffffff", "ada", "test"); !errors.As(err, &missing) || !missing.NotFound {
		t.Errorf("a key that is not there: %v", err)
	}
	var invalid *es.InvalidError
	if _, _, err := keys.Revoke(t.Context(), "*", "ada", "test"); !errors.As(err, &invalid) {
		t.Errorf("no id: %v", err)
	}
	made, _, err := keys.Create(t.Context(), ops.Key{Name: "ci", Role: "viewer"}, "ada")
	if err != nil {
		t.Fatal(err)
	}
	ring := follow(t, keys)
	if _, err := bare.Publish(t.Context(), natsstore.KeySubject(made.ID), []byte("oops")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ring, made.ID, "gone", func(_ ops.Key, known bool) bool { return !known })
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	const id, secret = "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
	if got, hash, ok := ops.ParseKey("msk_" + id + "_" + secret); !ok || got != id || len(hash) != 64 {
		t.Errorf("%s %s %v", got, hash, ok)
	}
	for _, bad := range []string{
		"", "msk_", "msk__", "msk_" + id, "msk_" + id + "_", id + "_" + secret, "MSK_" + id + "_" + secret,
		"msk_" + id + "_" + secret + "a", "msk_" + id + "_" + secret[1:], "msk_" + id[1:] + "_" + secret,
		"msk_" + id + "_" + strings.ToUpper(secret), "msk_" + id + "_" + strings.Replace(secret, "a", "1", 1), "msk_" + "0123456789abcde*" + "_" + secret,
	} {
		if _, _, ok := ops.ParseKey(bad); ok {
			t.Errorf("%q is a key", bad)
		}
	}
}
