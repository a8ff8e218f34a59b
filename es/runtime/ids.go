package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"github.com/millstream-es/millstream/es"
)

// newID makes an id, roughly ascending in time.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err) // the operating system has no randomness
	}
	return es.EnginePrefix + hex.EncodeToString(id[:])
}

// derivedID makes the id of something that the engine does because of something else: the same parts, the same id,
// so that doing it again takes effect once.
func derivedID(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%v\x00", p)
	}
	return es.EnginePrefix + hex.EncodeToString(h.Sum(nil))[:32]
}
