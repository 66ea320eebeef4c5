package policy_test

import (
	"testing"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// TestCountParts counts the parts of the largest value of expressions.
func TestCountParts(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		reason   string
		from, to float64
	}{
		`true`:                                {"a boolean", 1, 1},
		`object.spec.replicas > 3`:            {"a comparison", 1, 1},
		`[1, 2, {"a": [3]}]`:                  {"each item of each list and map", 7, 7},
		`cel.bind(x, [1, 2], [x, x])`:         {"a value that is there twice counts twice", 7, 7},
		doubled(3):                            {"so does one of those", 31, 31},
		doubled(60):                           {"however often", 1e18, 1e20},
		`[1].map(x, [x, x])`:                  {"a list of any length", 192, 192},
		`[[1, 2], [3]].map(x, [x, x])`:        {"its items are large too", 448, 448},
		`object.a.all(x, object.b.all(y, y))`: {"checks of lists make none", 1, 1},
		`variables.v == variables.v`:          {"a variable of a policy", 1000, 1000},
		`[variables.v, variables.v]`:          {"it counts twice too", 2001, 2001},
		`"a,b,c".split(",").map(x, [x])`:      {"the pieces of a text", 128, 128},
		`object.a.split(",").map(x, x.split(".").map(y, [y]))`: {"pieces of pieces", 8192, 8192},
		`lists.range(1000).map(x, x)`:                          {"a list of numbers", 1000, 1000},
		`split()`:                                              {"what is no function", 64, 64},
		`self.matches(`:                                        {"what does not parse", 0, 0},
	} {
		variables := map[string]policy.Parts{"variables.v": {Total: 1000, Item: 10}}
		if _, parts := policy.CountParts(text, variables, policy.UnknownItems); parts < c.from || parts > c.to {
			t.Errorf("%s: %s has %g parts, want %g to %g", c.reason, text, parts, c.from, c.to)
		}
	}
}
