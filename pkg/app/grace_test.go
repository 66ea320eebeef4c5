package app

import "testing"

// TestGraceOfMembers checks that nothing ends the process while it leaves the store. Members
// that are killed on their way out take the majority with them.
func TestGraceOfMembers(t *testing.T) {
	t.Parallel()
	inside := (&members{}).leaveGrace()
	if outside := (&app{}).virtualCluster().Grace; inside == 0 || outside <= inside {
		t.Errorf("a member has %s to leave the store, and the process ends after %s", inside, outside)
	}
}
