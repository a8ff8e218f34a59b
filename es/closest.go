package es

import (
	"strings"
	"unicode/utf8"
)

// Closest finds what was probably meant by name: the known name the fewest typing slips away (a letter added, lost,
// changed or swapped with its neighbour; case is free), at most one slip in three letters.
func Closest(name string, known []string) (string, bool) {
	if len(name) > MaxIDLength {
		return "", false
	}
	best, found := "", false
	fewest := max(1, utf8.RuneCountInString(name)/3) + 1
	for _, k := range known {
		if d := slips(strings.ToLower(name), strings.ToLower(k)); d < fewest {
			best, fewest, found = k, d, true
		}
	}
	return best, found
}

// slips is the Damerau-Levenshtein distance in its optimal string alignment form.
func slips(a, b string) int {
	from, to := []rune(a), []rune(b)
	before, last, row := make([]int, len(to)+1), make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(from); i++ {
		row[0] = i
		for j := 1; j <= len(to); j++ {
			cost := 1
			if from[i-1] == to[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(to)]
}
