package app

import "testing"

func TestMemoryKeeper(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	var use memoryUse
	released := 0
	k := &memoryKeeper{read: func() memoryUse { return use }, release: func() { released++ }}

	for _, step := range []struct {
		reason   string
		use      memoryUse
		releases bool
	}{
		{"The start has collected garbage since the last look: it may still be at work.", memoryUse{9, 120 * mib, 80 * mib, 30 * mib}, false},
		{"Then it is quiet, and what the start has left goes back.", memoryUse{9, 125 * mib, 80 * mib, 30 * mib}, true},
		{"What little has gathered since is not worth a collection.", memoryUse{9, 83 * mib, 80 * mib, 2 * mib}, false},
		{"Dead objects alone are worth it,", memoryUse{9, 95 * mib, 80 * mib, 0}, true},
		{"and so is memory without objects.", memoryUse{9, 80 * mib, 80 * mib, 20 * mib}, true},
		{"Work again: leave it alone.", memoryUse{12, 200 * mib, 90 * mib, 50 * mib}, false},
		{"A heap that shrank below what lived is no reason.", memoryUse{12, 70 * mib, 90 * mib, 0}, false},
	} {
		before := released
		use = step.use
		k.look()
		if got := released > before; got != step.releases {
			t.Errorf("%s: released: %t", step.reason, got)
		}
	}
}

func TestReadMemory(t *testing.T) {
	t.Parallel()
	if use := readMemory(); use.heap == 0 {
		t.Errorf("the runtime must know the names of the metrics: %+v", use)
	}
}
