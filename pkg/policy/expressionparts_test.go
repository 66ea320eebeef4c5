package policy_test

import (
	"strconv"
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

// TestCountPartsOfManyExpressions counts 20,000 expressions with a million variables. If an expression or a macro copied
// them, that would take hours.
func TestCountPartsOfManyExpressions(t *testing.T) {
	t.Parallel()
	variables := map[string]policy.Parts{}
	for i := range 1 << 20 {
		variables["variables.v"+strconv.Itoa(i)] = policy.Parts{Total: 10, Item: 1}
	}
	for range 20_000 {
		const text = `cel.bind(a, variables.v7, [a].map(b, i, [b, a]))`
		if value, largest := policy.CountParts(text, variables, policy.UnknownItems); value.Item != 21 || largest != 64*21 {
			t.Fatalf("%s has items of %g parts and %g in all, want 21 and %d", text, value.Item, largest, 64*21)
		}
	}
	if len(variables) != 1<<20 {
		t.Errorf("there are %d variables, want those of the caller", len(variables))
	}
}

// TestCountPartsInScopes checks that a variable of a macro hides another one of the same name, and ends with the macro.
func TestCountPartsInScopes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		`cel.bind(x, [1, 2], [cel.bind(x, [1], x), x])`: 6,
		`[cel.bind(x, [1, 2], x), x]`:                   5,
		`[[[1, 2]].all(x, x), x]`:                       3,
		`[[[1, 2]].all(x, y, y), y]`:                    3,
	} {
		if value, _ := policy.CountParts(text, nil, policy.UnknownItems); value.Total != want {
			t.Errorf("%s has %g parts, want %g", text, value.Total, want)
		}
	}
}
