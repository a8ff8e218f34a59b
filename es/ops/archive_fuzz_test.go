package ops

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// FuzzArchive: whatever a file holds, reading it ends with a permanent error or with a proof that counts what was
// handed out.
func FuzzArchive(f *testing.F) {
	const event = `{"specversion":"1.0","id":"c-1/1","source":"/door/front","type":"Opened","subject":"door/front","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","eventversion":1,"version":1,"data":{}}` + "\n"
	const transition = `{"specversion":"1.0","id":"1","source":"/","type":"millstream.saga.transition","subject":"s/k","datacontenttype":"application/json","data":{}}` + "\n"
	const proof = `{"specversion":"1.0","id":"p","source":"/","type":"millstream.archive.proof","datacontenttype":"application/json","data":{"whole":false,"events":0,"commits":0,"streams":0,"transitions":0,"firstRevision":0,"lastRevision":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}` + "\n"
	for _, seed := range []string{proof, event + proof, transition + proof, event, "", "\x28\xb5\x2f\xfd\x00", proof + proof} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		var commits, transitions uint64
		says, err := readArchive(context.Background(), bytes.NewReader(file), archive{
			commit: func(_ int, commit []natsstore.CloudEvent) error {
				commits++
				if len(commit) == 0 {
					t.Error("an empty commit was handed out")
				}
				return nil
			},
			transition: func(_ int, saga, key string, _ []byte) error {
				transitions++
				if err := (es.Stream{Category: saga, ID: key}).Validate(); err != nil {
					t.Error(err)
				}
				return nil
			},
		})
		switch {
		case err != nil && !errors.Is(err, es.ErrPermanent):
			t.Fatalf("%v is not permanent", err)
		case err == nil && (says.Commits != commits || says.Transitions != transitions):
			t.Fatalf("the proof %+v was accepted of %d commits and %d transitions", says, commits, transitions)
		}
	})
}
