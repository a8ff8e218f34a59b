package schema

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// RequestHash tells whether a command id comes back with the same command: a hash of the type and the canonical
// JSON, in 32 hex digits. White space, the order of keys and the escapes in texts do not matter; numbers are
// compared by their text, so that 1.0 and 1 differ. An empty body is {}, as for Decode; what is no JSON counts byte
// for byte.
func RequestHash(typ string, data []byte) string {
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	value, err := parse(data)
	if err != nil {
		return digest(append([]byte(typ+"\x00\x00"), data...))
	}
	return requestHash(typ, value)
}

// requestHash is RequestHash of what has been parsed.
func requestHash(typ string, value any) string {
	canonical := make([]byte, 0, 256)
	return digest(appendCanonical(append(append(canonical, typ...), 0), value))
}

func digest(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:16])
}

func appendCanonical(b []byte, value any) []byte {
	switch v := value.(type) {
	case map[string]any:
		b = append(b, '{')
		for _, key := range sortedKeys(v) {
			b = appendQuoted(b, key)
			b = appendCanonical(append(b, ':'), v[key])
			b = append(b, ',')
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for _, item := range v {
			b = append(appendCanonical(b, item), ',')
		}
		return append(b, ']')
	case string:
		return appendQuoted(b, v)
	case json.Number:
		return append(b, v...)
	case bool:
		return strconv.AppendBool(b, v)
	}
	return append(b, "null"...)
}

// appendQuoted is strconv.AppendQuote, spared its work on texts that need no escapes.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuote(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
