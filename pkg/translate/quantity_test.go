package translate

import "testing"

// TestHasHugeExponent compares texts that take hours as a quantity with others.
func TestHasHugeExponent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"1e-2000000000": true, "-1.5E+2000000000": true, "1e00002000": true, ".5e12345": true,
		"": false, "e": false, "1e": false, "100m": false, "1Ei": false, "1e30": false, "1e-0000009": false, "12e3": false,
		"1e12345f": false, "f1e12345": false, "release-1e12345": false, "50%": false, "http": false,
	} {
		if got := HasHugeExponent(text); got != want {
			t.Errorf("HasHugeExponent(%q) is %t, want %t", text, got, want)
		}
	}
}
