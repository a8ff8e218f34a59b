package natsstore

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// appendBatch writes envelopes as encoding/json does, byte for byte, HTML not escaped. By hand, since that would read
// through every event's JSON again, which is known to be compact, and makes up half the cost of a commit of several.
func appendBatch(envelopes []envelope) ([]byte, error) {
	size := 2
	for i := range envelopes {
		size += len(envelopes[i].Data) + 512
	}
	b := append(make([]byte, 0, size), '[')
	for i := range envelopes {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendEnvelope(b, &envelopes[i]); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendEnvelope(b []byte, e *envelope) (_ []byte, err error) {
	text := func(name, value string, always bool) {
		if err != nil || value == "" && !always {
			return
		}
		b = append(b, name...)
		b, err = appendText(b, value)
	}
	text(`{"specversion":`, e.SpecVersion, true)
	text(`,"id":`, e.ID, true)
	text(`,"source":`, e.Source, true)
	text(`,"type":`, e.Type, true)
	text(`,"subject":`, e.Subject, true)
	text(`,"time":`, e.Time, true)
	text(`,"datacontenttype":`, e.DataContentType, true)
	b = strconv.AppendInt(append(b, `,"eventversion":`...), int64(e.EventVersion), 10)
	b = strconv.AppendUint(append(b, `,"version":`...), e.Version, 10)
	text(`,"correlationid":`, e.CorrelationID, false)
	text(`,"causationid":`, e.CausationID, false)
	text(`,"userid":`, e.UserID, false)
	text(`,"traceparent":`, e.Traceparent, false)
	text(`,"requesthash":`, e.RequestHash, false)
	b = append(append(append(b, `,"data":`...), e.Data...), '}')
	return b, err
}

// appendText quotes a text. What needs an escape is encoding/json's.
func appendText(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			var quoted bytes.Buffer
			enc := json.NewEncoder(&quoted)
			enc.SetEscapeHTML(false)
			err := enc.Encode(s)
			return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...), err
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}
