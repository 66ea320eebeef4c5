package kinds

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// Row is one kind of the table.
type Row struct {
	// Name is the name of the kind: of its metrics, of its lines in the log and of
	// its folder in testdata.
	Name string
	// Doc says in one line what is synced.
	Doc string
	// Owner is the side whose copy is the truth.
	Owner syncer.Side
	// Key is the path of the setting that turns the kind on, empty for a kind that
	// is always on.
	Key string
	// KeyOff says that Key turns the kind off instead.
	KeyOff bool
	// Enabled says whether the kind is on under these settings.
	Enabled func(v1alpha1.Sync) bool
	// Define makes the kind.
	Define func(Options) syncer.Kind
	// Rules are the rights that the kind needs in the host namespace and
	// ClusterRules those that it needs in the whole host cluster: exactly the verbs
	// in use. Rules of several kinds may say the same.
	Rules, ClusterRules []rbacv1.PolicyRule
	// Further are the rights that a further setting of the kind needs.
	Further []Further
}

// Further is what a kind may do in the whole host cluster under a setting that is
// off by default.
type Further struct {
	// Key is the path of the setting.
	Key string
	// ClusterRules are the rights.
	ClusterRules []rbacv1.PolicyRule
}

// Table is every kind that Sublet can sync, in the order of the documentation.
func Table() []Row {
	return []Row{
		podsRow(),
		tokensRow(),
		servicesRow(),
		endpointSlicesRow(),
		configMapsRow(),
		secretsRow(),
		persistentVolumeClaimsRow(),
		persistentVolumesRow(),
		storageClassesRow(),
		nodesRow(),
		pseudoNodesRow(),
		eventsRow(),
	}
}

// always is Enabled of a kind that no setting turns off.
func always(v1alpha1.Sync) bool { return true }

// The verbs that the engine uses. It never replaces a whole host object and never
// reads one that its watch does not show.
func read() []string   { return []string{"get", "list", "watch"} }
func manage() []string { return []string{"create", "delete", "get", "list", "patch", "watch"} }

// rule is a right to resources of one API group.
func rule(verbs []string, group string, resources ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: resources, Verbs: verbs}}
}
