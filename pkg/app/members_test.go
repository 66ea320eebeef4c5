package app

import (
	"strings"
	"testing"
)

func TestCheckJoin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason         string
		ordinal, count int
		want           string // a part of the error, empty for none
	}{
		{"the second of three joins", 1, 3, ""},
		{"so does the last of five", 4, 5, ""},
		{"of two members none may fail, as of one", 1, 2, "scale it to 1, 3 or 5"},
		{"a pod that is being scaled away stays out", 2, 1, "is to have 1 replicas"},
		{"also where the rest is even", 3, 2, "is to have 2 replicas"},
	} {
		err := checkJoin("shop", test.ordinal, test.count)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", test.reason, err, test.want)
		}
	}
}
