package release

import (
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/patch"
)

// Patches reads the patches of settings and compiles them, as the server does. It fails for all
// that is wrong with them.
func Patches(values map[string]any) (*v1alpha1.Sync, error) {
	sync, err := patch.FromValues(values)
	if err != nil {
		return nil, &fault.Error{Code: fault.Usage, Message: "cannot read the settings", Hint: "Settings are in docs/reference/values.md.", Cause: err}
	}
	problems := patch.Check(sync)
	if len(problems) == 0 {
		return sync, nil
	}
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, p.Path+": "+p.Detail)
	}
	return nil, fault.New(fault.Usage, "See docs/how-to/patches.md.", "%s", strings.Join(lines, "; "))
}
