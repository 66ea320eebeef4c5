package patch

import (
	"encoding/json"
	"fmt"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// patched are settings of which patches matter alone.
type patched struct {
	Patches []v1alpha1.Patch `json:"patches"`
}

// FromValues reads the patches from the values of a release, for whoever does not have the
// table of kinds. It reads no other settings.
func FromValues(values map[string]any) (*v1alpha1.Sync, error) {
	sync := &v1alpha1.Sync{Kinds: map[string]v1alpha1.KindSettings{}}
	sides, _ := values["sync"].(map[string]any)
	for side, kinds := range sides {
		kinds, _ := kinds.(map[string]any)
		for name, settings := range kinds {
			if name == "customResources" {
				continue
			}
			var kind patched
			if err := decode(settings, &kind); err != nil {
				return nil, err
			}
			sync.Kinds["sync."+side+"."+name] = v1alpha1.KindSettings{Patches: kind.Patches}
		}
		all := map[string]patched{}
		if err := decode(kinds["customResources"], &all); err != nil {
			return nil, err
		}
		addCustom(sync, side, all)
	}
	return sync, nil
}

// addCustom adds the patches of custom resources.
func addCustom(sync *v1alpha1.Sync, side string, all map[string]patched) {
	if side == "fromHost" {
		sync.FromHost.CustomResources = map[string]v1alpha1.HostCustomResource{}
		for key, kind := range all {
			sync.FromHost.CustomResources[key] = v1alpha1.HostCustomResource{Patches: kind.Patches}
		}
		return
	}
	sync.ToHost.CustomResources = map[string]v1alpha1.CustomResource{}
	for key, kind := range all {
		sync.ToHost.CustomResources[key] = v1alpha1.CustomResource{Patches: kind.Patches}
	}
}

// decode decodes a part of the values.
func decode(value, into any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot encode sync: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("cannot decode sync: %w", err)
	}
	return nil
}

// Check returns everything that is wrong with the patches of settings.
func Check(sync *v1alpha1.Sync) []Problem {
	if problems := sync.PatchProblems(); len(problems) > 0 {
		return problems
	}
	_, problems := CompileAll(sync)
	return problems
}
