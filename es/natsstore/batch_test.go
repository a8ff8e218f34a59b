package natsstore

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// What appendBatch writes is in logs for ever: it must stay what encoding/json writes.
func TestBatchesAreWrittenAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`), rapid.SampledFrom([]string{"", "<&>", "\u2028", "\x7f", `"\`, "é"}))
	rapid.Check(t, func(t *rapid.T) {
		envelopes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) envelope {
			data, err := json.Marshal(rapid.MapOf(text, text).Draw(t, "data"))
			if err != nil {
				t.Fatal(err)
			}
			e := envelope{EventVersion: rapid.Int().Draw(t, "eventversion"), Version: rapid.Uint64().Draw(t, "version"), Data: data}
			for _, h := range textHeaders {
				*e.text(h.name) = text.Draw(t, h.name)
			}
			return e
		}), 1, 4).Draw(t, "envelopes")
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(envelopes); err != nil {
			t.Fatal(err)
		}
		got, err := appendBatch(envelopes)
		if err != nil || string(got)+"\n" != want.String() {
			t.Fatalf("got  %s (%v)\nwant %s", got, err, want.String())
		}
	})
}
