package translate

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readStateTables returns the tables of a document whose first column is a state: for each, the
// states that its row names in the column next. A table without that column has none.
func readStateTables(t *testing.T, path string) []map[PodState][]string {
	t.Helper()
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var tables []map[PodState][]string
	next, inside := -1, false
	for line := range strings.Lines(string(document)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		first := strings.TrimSpace(cells[min(1, len(cells)-1)])
		switch {
		case first == "state":
			next, inside = slices.IndexFunc(cells, func(cell string) bool { return strings.TrimSpace(cell) == "next" }), true
			tables = append(tables, map[PodState][]string{})
		case len(cells) < 3:
			inside = false
		case inside && strings.HasPrefix(first, "`"):
			state, table := PodState(strings.Trim(first, "`")), tables[len(tables)-1]
			if _, twice := table[state]; twice {
				t.Errorf("%s has two rows of %s in one table", path, state)
			}
			table[state] = []string{}
			if next > 0 {
				table[state] = backquoted(cells[next])
			}
		}
	}
	return tables
}

// backquoted returns the words of a text that are in backquotes, sorted.
func backquoted(text string) []string {
	words := []string{}
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			words = append(words, part)
		}
	}
	slices.Sort(words)
	return words
}

// TestTablesOfStates checks that each state has one row in the table of ARCHITECTURE.md and in the
// two of design 009. Both documents must have the same next states.
func TestTablesOfStates(t *testing.T) {
	t.Parallel()
	tables := readStateTables(t, "../../docs/design/009-two-phase-bind.md")
	architecture := readStateTables(t, "../../docs/ARCHITECTURE.md")
	if len(tables) != 2 || len(architecture) != 1 {
		t.Fatalf("found %d tables of states in 009 and %d in ARCHITECTURE.md, want 2 and 1", len(tables), len(architecture))
	}
	next := tables[1]
	if diff := cmp.Diff(next, architecture[0]); diff != "" {
		t.Errorf("009 and ARCHITECTURE.md differ in states or in what is next (-009 +ARCHITECTURE):\n%s", diff)
	}
	for _, table := range append(tables, architecture...) {
		if len(table) != len(allPodStates()) {
			t.Errorf("a table has %d states, want %d", len(table), len(allPodStates()))
		}
		for _, state := range allPodStates() {
			if _, ok := table[state]; !ok {
				t.Errorf("a table has no row of %s", state)
			}
		}
	}
	for state, follows := range next {
		for _, other := range follows {
			if !slices.Contains(allPodStates(), PodState(other)) {
				t.Errorf("next of %s has %s, which is no state", state, other)
			}
		}
		if ends := state == PodGone || state == PodNotSynced; ends != (len(follows) == 0) {
			t.Errorf("next of %s is %v", state, follows)
		}
	}
}
