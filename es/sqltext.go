package es

import (
	"fmt"
	"strings"
)

// A token of SQL. Only as much of the language is known as it takes to find statements and values in it.
type sqlToken struct {
	kind sqlKind
	text string
	line int // of its first character, from 1
}

type sqlKind int

const (
	sqlSpace   sqlKind = iota // white space and comments
	sqlOn                     // a comment line "-- on A, B"; text holds what follows "on"
	sqlWord                   // keyword or name
	sqlQuoted                 // string, quoted name
	sqlValue                  // $.path
	sqlForeign                // ?, :name, @name, $name: SQLite's own parameters
	sqlOther                  // numbers, operators
	sqlEnd                    // ;
)

// sqlScan cuts text into tokens that together are the text again (but for sqlOn).
func sqlScan(text string) ([]sqlToken, error) {
	var tokens []sqlToken
	line := 1
	for i := 0; i < len(text); {
		kind, n, err := sqlNext(text, i)
		if err != nil {
			return nil, lineError{line, err.Error()}
		}
		found := sqlToken{kind, text[i : i+n], line}
		if kind == sqlSpace && strings.HasPrefix(found.text, "--") && startsLine(text, i) {
			if events, ok := strings.CutPrefix(strings.TrimSpace(found.text[2:]), "on "); ok {
				found.kind, found.text = sqlOn, strings.TrimSpace(events)
			}
		}
		tokens = append(tokens, found)
		line += strings.Count(text[i:i+n], "\n")
		i += n
	}
	return tokens, nil
}

func startsLine(text string, i int) bool {
	before := text[:i]
	return strings.TrimSpace(before[strings.LastIndexByte(before, '\n')+1:]) == ""
}

// sqlNext returns the kind and length of the token at i.
func sqlNext(text string, i int) (sqlKind, int, error) {
	rest := text[i:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "--"):
		if end := strings.IndexByte(rest, '\n'); end >= 0 {
			return sqlSpace, end, nil // the line break itself is the next token's
		}
		return sqlSpace, len(rest), nil
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			return 0, 0, fmt.Errorf("a comment /* has no end")
		}
		return sqlSpace, end + 4, nil
	case c == '\'', c == '"', c == '`':
		return quotedLength(rest, c)
	case c == '[':
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return 0, 0, fmt.Errorf("a name in [ has no end")
		}
		return sqlQuoted, end + 1, nil
	case c == ' ', c == '\t', c == '\r', c == '\n', c == '\f':
		return sqlSpace, 1, nil
	case c == ';':
		return sqlEnd, 1, nil
	case strings.HasPrefix(rest, "$."):
		return sqlValue, pathLength(rest), nil
	case c == '?', (c == ':' || c == '@' || c == '$') && len(rest) > 1 && wordByte(rest[1]):
		return sqlForeign, 1 + wordLength(rest[1:]), nil
	case wordByte(c) && (c < '0' || c > '9'):
		return sqlWord, wordLength(rest), nil
	case c >= '0' && c <= '9':
		return sqlOther, wordLength(rest), nil
	}
	return sqlOther, 1, nil
}

func quotedLength(rest string, quote byte) (sqlKind, int, error) {
	for i := 1; i < len(rest); i++ {
		if rest[i] != quote {
			continue
		}
		if i+1 < len(rest) && rest[i+1] == quote {
			i++
			continue
		}
		return sqlQuoted, i + 1, nil
	}
	return 0, 0, fmt.Errorf("a text in %c has no end", quote)
}

// pathLength measures $.name.name[0].name.
func pathLength(rest string) int {
	i := 1
	for i < len(rest) {
		switch {
		case rest[i] == '.' && i+1 < len(rest) && wordByte(rest[i+1]):
			i += 1 + wordLength(rest[i+1:])
		case rest[i] == '[' && indexLength(rest[i:]) > 0:
			i += indexLength(rest[i:])
		default:
			return max(i, len("$."))
		}
	}
	return i
}

// indexLength measures [0]; 0: it is something else.
func indexLength(rest string) int {
	n := 1
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	if n == 1 || n == len(rest) || rest[n] != ']' {
		return 0
	}
	return n + 1
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func wordLength(s string) int {
	n := 0
	for n < len(s) && wordByte(s[n]) {
		n++
	}
	return n
}

// sqlStatements cuts tokens at their semicolons; inside the BEGIN … END of a trigger a semicolon ends nothing.
// Statements of white space only are left out.
func sqlStatements(tokens []sqlToken) [][]sqlToken {
	var all [][]sqlToken
	var one []sqlToken
	depth, trigger, words := 0, false, 0
	flush := func() {
		if words > 0 {
			all = append(all, one)
		}
		one, depth, trigger, words = nil, 0, false, 0
	}
	for _, t := range tokens {
		if t.kind == sqlEnd && depth == 0 {
			flush()
			continue
		}
		if t.kind == sqlWord {
			switch strings.ToUpper(t.text) {
			case "TRIGGER":
				trigger = trigger || words <= 2 // CREATE [TEMP] TRIGGER
			case "BEGIN", "CASE":
				if trigger {
					depth++
				}
			case "END":
				depth = max(0, depth-1)
			}
		}
		if t.kind != sqlSpace {
			words++
		} else if words == 0 {
			continue
		}
		one = append(one, t)
	}
	flush()
	return all
}

// lineError is a fault of a text at a line.
type lineError struct {
	line int
	text string
}

func (e lineError) Error() string { return fmt.Sprintf("%d: %s", e.line, e.text) }
