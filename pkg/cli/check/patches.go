package check

import (
	"github.com/sublet-dev/sublet/pkg/cli/release"
	"github.com/sublet-dev/sublet/pkg/patch"
)

// checkPatches compiles the patches of settings, as the server does when it starts. ok is
// false if there are none.
func checkPatches(values map[string]any) (r result, ok bool) {
	const name = "patches"
	sync, err := patch.FromValues(values)
	if err != nil || len(sync.Patched()) == 0 {
		return result{}, false // What cannot be read fails the check of the settings.
	}
	if err := release.CheckPatches(sync); err != nil {
		return fail(name, "Correct the expressions. See docs/how-to/patches.md.", "%s", err), true
	}
	return pass(name, "the patches of %d kinds compile", len(sync.Patched())), true
}
