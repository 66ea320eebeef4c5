package config

import "strings"

// suggest returns the known key that is closest to key, or an empty string if none
// is close.
func suggest(key string, known []string) string {
	best, distance := "", 1+len(key)/3
	for _, candidate := range known {
		if d := edits(strings.ToLower(key), strings.ToLower(candidate)); d <= distance {
			best, distance = candidate, d-1
		}
	}
	return best
}

// edits counts the characters that must be added, removed or replaced to turn one
// word into the other.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
