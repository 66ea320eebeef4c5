//go:build race

package databases

// isRace is true under the race detector.
const isRace = true
