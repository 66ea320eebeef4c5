package translate

import "strings"

// maxExponentDigits is how many digits the exponent of a quantity may have. No resource has more than two.
const maxExponentDigits = 3

// HasHugeExponent reports whether a text is a quantity such as 1e-2000000000, for which Kubernetes
// computes for hours. It does not parse it.
func HasHugeExponent(text string) bool {
	at := strings.IndexAny(text, "eE")
	if at < 0 || strings.Trim(text[:at], "+-.0123456789") != "" {
		return false
	}
	digits := strings.TrimLeft(text[at+1:], "+-0")
	return len(digits) > maxExponentDigits && strings.Trim(digits, "0123456789") == ""
}
