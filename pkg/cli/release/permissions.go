package release

import "strings"

// smallSettings are the settings with which the chart creates nothing that the admin of one namespace may not create.
const smallSettings = "--set sync.fromHost.nodes.enabled=false,sync.fromHost.storageClasses.enabled=false,policies.fence.enabled=false,policies.resourceQuota.enabled=false"

// PermissionHint returns what to do about permissions that are missing, by a text that names their resources. It is
// empty if no setting and no role of the documentation helps.
func PermissionHint(text string) string {
	if strings.Contains(text, "attempting to grant RBAC permissions not currently held") {
		return "Nobody can grant permissions that they do not have. Ask an administrator of the host for the ClusterRole sublet-installer " +
			"in docs/how-to/few-permissions.md, or to install it."
	}
	for _, resource := range []string{"clusterroles", "clusterrolebindings", "validatingadmissionpolic", "resourcequotas", "limitranges"} {
		if strings.Contains(text, resource) {
			return "The admin of one namespace leaves out what needs more, as in docs/how-to/few-permissions.md: " + smallSettings
		}
	}
	return ""
}
