package app

import "testing"

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"2147483648": 1825361060, "2Gi": 1825361060, "100": 85} {
		if got, err := memoryLimit(text); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"much", "0", "-1"} {
		if _, err := memoryLimit(text); err == nil {
			t.Errorf("%s is no limit", text)
		}
	}
}
