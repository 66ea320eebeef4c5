package databases

import "testing"

// SkipUnderRace skips a test of an SQL store under the race detector. kine reads the
// revision of a list while a goroutine of its own writes it with each row. All rows of a list
// have the same revision, so that nothing is wrong but the detector stops the test.
func SkipUnderRace(t *testing.T) {
	t.Helper()
	if isRace {
		t.Skip("kine reads the revision of a list while it scans the rows")
	}
}
