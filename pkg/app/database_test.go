package app

import (
	"strings"
	"testing"
)

func TestDatabaseName(t *testing.T) {
	t.Parallel()
	if got, want := databaseName("team-a", "shop"), "sublet_team_a_shop_6b3e3555"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if databaseName("a-b", "c") == databaseName("a", "b-c") {
		t.Error("two releases have the same database")
	}
	if got := databaseName(strings.Repeat("n", 63), strings.Repeat("r", 50)); len(got) > maxDatabaseName {
		t.Errorf("%s has %d characters", got, len(got))
	}
}
