package readmodel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// bm25 is the SQL function bm25(matchinfo(t, 'pcnalx'), weight, …): how well a row of the FTS4 table t answers its
// MATCH, by Okapi BM25F with one weight a column. Greater is better, 0 is no match at all. FTS5 has a function of
// that name for its own tables; FTS4, which needs no build tag, has none.
func bm25(info []byte, weights ...float64) (float64, error) {
	const k1, b = 1.2, 0.75 // the usual values
	n := len(info) / 4
	at := func(i int) float64 { return float64(binary.NativeEndian.Uint32(info[4*i:])) }
	if n < 3 {
		return 0, errors.New("bm25: matchinfo(table, 'pcnalx') was expected")
	}
	phrases, columns, rows := int(at(0)), int(at(1)), at(2)
	// p, c, n, then a and l for each column, then x: three values for each phrase and column.
	averages, lengths, hits := 3, 3+columns, 3+2*columns
	if n != hits+3*phrases*columns || len(weights) != columns {
		return 0, fmt.Errorf("bm25: matchinfo(table, 'pcnalx') and a weight for each column were expected, found %d values and %d weights", n, len(weights))
	}
	score := 0.0
	for p := range phrases {
		frequency, found := 0.0, 0.0
		for c := range columns {
			x := hits + 3*(p*columns+c)
			norm := 1.0
			if average := at(averages + c); average > 0 {
				norm = 1 - b + b*at(lengths+c)/average
			}
			if norm > 0 {
				frequency += weights[c] * at(x) / norm
			}
			found = max(found, at(x+2)) // rows with the phrase in this column: a lower bound for those with it anywhere
		}
		rarity := math.Log(1 + (rows-found+0.5)/(found+0.5))
		score += rarity * frequency * (k1 + 1) / (frequency + k1)
	}
	return score, nil
}
