package check

import (
	"strings"

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
	problems := patch.Check(sync)
	if len(problems) == 0 {
		return pass(name, "the patches of %d kinds compile", len(sync.Patched())), true
	}
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, p.Path+": "+p.Detail)
	}
	return fail(name, "Correct the expressions. See docs/how-to/patches.md.", "%s", strings.Join(lines, "; ")), true
}
