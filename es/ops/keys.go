package ops

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// KeyPrefix begins every API key: msk_<id>_<secret>. It is durable, and what secret scanners look for.
const KeyPrefix = "msk_"

const (
	keyIDLength     = 16 // hexadecimal
	keySecretLength = 52 // base32, lower case: 256 bits
)

var keyAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Key is an API key as it is stored. The secret is not: it is random and has 256 bits, so its SHA-256 is all that it
// takes to know it again.
type Key struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"` // the user of its events and operator actions
	Role      string    `json:"role"`
	Scopes    []string  `json:"scopes,omitempty"`
	Hash      string    `json:"hash,omitempty"` // SHA-256 of the secret, hexadecimal
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"` // zero: never
	RevokedAt time.Time `json:"revokedAt,omitzero"` // zero: it is not
	RevokedBy string    `json:"revokedBy,omitempty"`
	Reason    string    `json:"reason,omitempty"` // of the revocation
}

// KeyState is whether a key opens.
type KeyState string

// The states.
const (
	KeyGood    KeyState = "good"
	KeyExpired KeyState = "expired"
	KeyRevoked KeyState = "revoked"
)

// State is that of the key at a time.
func (k Key) State(at time.Time) KeyState {
	switch {
	case !k.RevokedAt.IsZero():
		return KeyRevoked
	case !k.ExpiresAt.IsZero() && !at.Before(k.ExpiresAt):
		return KeyExpired
	}
	return KeyGood
}

// ParseKey splits an API key into its id and the hash of its secret; false: it is not written like one.
func ParseKey(text string) (id, hash string, ok bool) {
	text, prefixed := strings.CutPrefix(text, KeyPrefix)
	id, secret, two := strings.Cut(text, "_")
	if !prefixed || !two || !isKeyID(id) || len(secret) != keySecretLength {
		return "", "", false
	}
	if _, err := keyAlphabet.DecodeString(secret); err != nil {
		return "", "", false
	}
	sum := sha256.Sum256([]byte(secret))
	return id, hex.EncodeToString(sum[:]), true
}

func isKeyID(id string) bool {
	_, err := hex.DecodeString(id)
	return err == nil && len(id) == keyIDLength && id == strings.ToLower(id)
}

// KeyOperation is one act of an operator on a key, as stored on `operations.keys.<id>`.
type KeyOperation struct {
	Kind   string    `json:"kind"` // create or revoke
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	State  KeyState  `json:"state"` // after
	Key    Key       `json:"key"`   // after; without its hash
}

// Keys is the store of API keys: a key-value bucket, one value a key, that every process follows.
type Keys struct {
	js        jetstream.JetStream
	publisher *natsstore.Publisher
}

// NewKeys needs the streams to be set up.
func NewKeys(js jetstream.JetStream) *Keys {
	return &Keys{js, natsstore.NewPublisher(js.Conn())}
}

// ready says what to do where no program has been yet.
func (s *Keys) ready(ctx context.Context) error {
	_, err := s.js.Stream(ctx, natsstore.KeysStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return es.Permanent(fmt.Errorf("stream %s does not exist: start a process once, which sets this account up", natsstore.KeysStream))
	}
	if err != nil {
		return es.Transient(fmt.Errorf("stream %s: %w", natsstore.KeysStream, err))
	}
	return nil
}

// Create makes a key of name, role, scopes and expiry, in the name of by. The text is the key itself: it is returned
// here and nowhere else.
func (s *Keys) Create(ctx context.Context, k Key, by string) (made Key, text string, err error) {
	if err := s.ready(ctx); err != nil {
		return Key{}, "", err
	}
	random := make([]byte, keyIDLength/2+sha256.Size)
	rand.Read(random) // never fails
	k.ID = hex.EncodeToString(random[:keyIDLength/2])
	text = KeyPrefix + k.ID + "_" + keyAlphabet.EncodeToString(random[keyIDLength/2:])
	_, k.Hash, _ = ParseKey(text)
	k.CreatedAt, k.CreatedBy = time.Now().UTC(), by
	// First the record: one of a key that never came to be does no harm, a key that nobody knows of does.
	if err := s.record(ctx, KeyOperation{Kind: "create", By: by, At: k.CreatedAt, State: KeyGood, Key: k}, 0); err != nil {
		return Key{}, "", err
	}
	if err := s.write(ctx, k, 0); err != nil {
		return Key{}, "", err
	}
	return k, text, nil
}

// List returns every key, the oldest first.
func (s *Keys) List(ctx context.Context) ([]Key, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	var all []Key
	err := natsstore.Scan(ctx, s.js, natsstore.KeysStream, natsstore.KeySubject("*"), func(m *jetstream.RawStreamMsg) error {
		k, err := decodeKey(m.Data)
		all = append(all, k)
		return err
	})
	slices.SortStableFunc(all, func(a, b Key) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all, err
}

// Revoke ends a key, in every process as soon as it hears of it. already: it was revoked before. NotFound rejection:
// there is no such key.
func (s *Keys) Revoke(ctx context.Context, id, by, reason string) (revoked Key, already bool, err error) {
	if !isKeyID(id) {
		return Key{}, false, &es.InvalidError{Code: "bad_id", Message: fmt.Sprintf("%.40q cannot be the id of a key: it is the part between the first two _ of one, or see `keys list`", id)}
	}
	if err := s.ready(ctx); err != nil {
		return Key{}, false, err
	}
	m, err := natsstore.Newest(ctx, s.js, natsstore.KeysStream, natsstore.KeySubject(id))
	if err != nil {
		return Key{}, false, err
	}
	if m == nil {
		return Key{}, false, es.NotFound("key_not_found", "there is no key "+id+": `keys list` shows them")
	}
	k, err := decodeKey(m.Data)
	if err != nil {
		return Key{}, false, err
	}
	if already = k.State(time.Now()) == KeyRevoked; !already {
		k.RevokedAt, k.RevokedBy, k.Reason = time.Now().UTC(), by, reason
		if err := s.write(ctx, k, es.Revision(m.Sequence)); err != nil {
			return Key{}, false, err
		}
	}
	return k, already, s.recordRevoked(ctx, k)
}

// recordRevoked records a revocation unless it is on record: whoever revokes again after a crash makes up for it.
func (s *Keys) recordRevoked(ctx context.Context, k Key) error {
	last, err := natsstore.Newest(ctx, s.js, natsstore.OperationsStream, keyOperations(k.ID))
	if err != nil {
		return err
	}
	var at es.Revision
	if last != nil {
		var op KeyOperation
		if err := json.Unmarshal(last.Data, &op); err != nil {
			return es.Permanent(fmt.Errorf("operation at %d of %s: %w", last.Sequence, natsstore.OperationsStream, err))
		}
		if op.Kind == "revoke" {
			return nil
		}
		at = es.Revision(last.Sequence)
	}
	err = s.record(ctx, KeyOperation{Kind: "revoke", By: k.RevokedBy, At: k.RevokedAt, Reason: k.Reason, State: KeyRevoked, Key: k}, at)
	if err != nil {
		return fmt.Errorf("key %s is revoked, but that is not on record; revoke it again: %w", k.ID, err)
	}
	return nil
}

func keyOperations(id string) string { return "operations.keys." + id }

func (s *Keys) record(ctx context.Context, op KeyOperation, after es.Revision) error {
	op.Key.Hash = ""
	return s.append(ctx, keyOperations(op.Key.ID), op, after)
}

func (s *Keys) write(ctx context.Context, k Key, at es.Revision) error {
	return s.append(ctx, natsstore.KeySubject(k.ID), k, at)
}

func (s *Keys) append(ctx context.Context, subject string, v any, expected es.Revision) error {
	body, err := json.Marshal(v)
	if err != nil {
		return es.Permanent(err)
	}
	_, err = s.publisher.Append(ctx, subject, message.NewMessage(watermill.NewShortUUID(), body), expected)
	if errors.Is(err, es.ErrConflict) {
		return fmt.Errorf("%w: somebody else changed it at the same time; look again", err)
	}
	return err
}

func decodeKey(data []byte) (Key, error) {
	var k Key
	if err := json.Unmarshal(data, &k); err != nil {
		return k, es.Permanent(fmt.Errorf("a key in %s is not one (%w): see `nats stream view %[1]s`", natsstore.KeysStream, err))
	}
	return k, nil
}
