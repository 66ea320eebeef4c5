package release

import (
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/patch"
)

// Patches reads the patches of settings and compiles them. It fails as [CheckPatches] does.
func Patches(values map[string]any) (*v1alpha1.Sync, error) {
	sync, err := patch.FromValues(values)
	if err != nil {
		return nil, &fault.Error{Code: fault.Usage, Message: "cannot read the settings", Hint: "Settings are in docs/reference/values.md.", Cause: err}
	}
	return sync, CheckPatches(sync)
}

// CheckPatches compiles patches, as the server does. It fails for all that is wrong with them.
func CheckPatches(sync *v1alpha1.Sync) error {
	problems := patch.Check(sync)
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, p.Path+": "+p.Detail)
	}
	return fault.New(fault.Usage, "See docs/how-to/patches.md.", "%s", strings.Join(lines, "; "))
}
