package kinds

import (
	"testing"
	"time"
)

// TestOptionalDelay follows pods that wait for copies that never come.
func TestOptionalDelay(t *testing.T) {
	t.Parallel()
	for reason, c := range map[string]struct {
		start, end time.Duration
		most       int
	}{
		"a new pod looks often at first, and seldom later": {0, optionalPatience, 25},
		"the clock of the server that created it is ahead": {-time.Second, optionalPatience, 45},
		"a clock that is far ahead says nothing":           {-time.Hour, -time.Hour, 0},
		"an old pod does not wait":                         {optionalPatience, optionalPatience, 0},
	} {
		age, looks := c.start, 0
		for pause := optionalDelay(age); pause > 0; pause = optionalDelay(age) {
			age += pause
			looks++
		}
		if age != c.end || looks > c.most {
			t.Errorf("%s: %d looks until %s, want at most %d until %s", reason, looks, age, c.most, c.end)
		}
	}
}
