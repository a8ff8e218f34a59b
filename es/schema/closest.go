package schema

import (
	"unicode/utf8"

	"github.com/millstream-es/millstream/es"
)

// Closest is es.Closest: what was probably meant by name.
func Closest(name string, known []string) (string, bool) { return es.Closest(name, known) }

// clip keeps messages short whatever the input.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
