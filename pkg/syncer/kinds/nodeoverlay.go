package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The fields of a virtual node that both its host and its tenant write, as the
// annotation [labels.Agreed] calls them. What is agreed is the host's part as it
// was last written; whatever else the virtual node has, its tenant added.
const (
	labelsField        = "labels"
	annotationsField   = "annotations"
	taintsField        = "taints"
	unschedulableField = "unschedulable"
)

// overlaid is the host's map, in which no key can be changed or removed by the
// tenant, and beside it the keys that the tenant added.
func overlaid(agreed translate.Agreed, host, virtual map[string]string) map[string]string {
	over := maps.Clone(virtual)
	if over == nil {
		over = make(map[string]string, len(host))
	}
	maps.Copy(over, host)
	return translate.Merge(agreed, host, over, translate.HostWins)
}

// hostTaints is the prefix of taints that only the host's controllers set, by a
// node's conditions. A tenant's API server may add one to each new node as well,
// and no one there would ever remove it.
const hostTaints = "node.kubernetes.io/"

// overlaidTaints is the host's taints, and beside them those that the tenant
// added. A taint is known by its key and effect, never twice.
func overlaidTaints(agreed translate.Agreed, host, virtual []corev1.Taint) []corev1.Taint {
	added := slices.DeleteFunc(slices.Clone(virtual), func(t corev1.Taint) bool {
		return strings.HasPrefix(t.Key, hostTaints)
	})
	// The last of two with one key counts in a merge: the host's.
	return translate.MergeList(agreed, host, slices.Concat(added, host), taintKey, translate.HostWins)
}

func taintKey(t corev1.Taint) string { return t.Key + ":" + string(t.Effect) }

// The two parts of an unschedulable node. A node is cordoned by the one, by the
// other or by both, and what one side undoes is its own cordon alone.
const (
	byHost   = "host"
	byTenant = "tenant"
)

// overlaidCordon is who has cordoned the node.
func overlaidCordon(agreed translate.Agreed, host, virtual bool) map[string]bool {
	_, hostDid := agreed[byHost]
	_, tenantDid := agreed[byTenant]
	if virtual != (hostDid || tenantDid) {
		tenantDid = virtual
	}
	cordons := map[string]bool{}
	if host {
		cordons[byHost] = true
	}
	if tenantDid {
		cordons[byTenant] = true
	}
	return cordons
}

// overlay fills in the fields of a virtual node that both sides write, and
// records what is agreed now.
func overlay(host, virtual *corev1.Node) error {
	agreed := translate.DecodeAgreed(virtual.Annotations[labels.Agreed])
	annotations := passedAnnotations(host.Annotations)
	cordons := overlaidCordon(agreed[unschedulableField], host.Spec.Unschedulable, virtual.Spec.Unschedulable)

	virtual.Labels = overlaid(agreed[labelsField], host.Labels, virtual.Labels)
	virtual.Annotations = overlaid(agreed[annotationsField], annotations, virtual.Annotations)
	virtual.Spec.Taints = overlaidTaints(agreed[taintsField], host.Spec.Taints, virtual.Spec.Taints)
	virtual.Spec.Unschedulable = len(cordons) > 0

	text, err := translate.EncodeAgreed(map[string]translate.Agreed{
		labelsField:        translate.Agree(host.Labels),
		annotationsField:   translate.Agree(annotations),
		taintsField:        translate.AgreeList(host.Spec.Taints, taintKey),
		unschedulableField: translate.Agree(cordons),
	})
	if err != nil {
		return fmt.Errorf("cannot record what is the host's part of virtual node %s: %w", virtual.Name, err)
	}
	if virtual.Annotations == nil {
		virtual.Annotations = map[string]string{}
	}
	virtual.Annotations[labels.Agreed] = text
	return nil
}

// changesNode says whether a status differs from that of the virtual node in more
// than the times of its heartbeats. Those are worth no write; they come along with
// the next change.
func changesNode(status, virtual *corev1.NodeStatus) bool {
	if len(status.Conditions) != len(virtual.Conditions) {
		return true
	}
	bare := *status
	bare.Conditions = slices.Clone(status.Conditions)
	for i := range bare.Conditions {
		bare.Conditions[i].LastHeartbeatTime = virtual.Conditions[i].LastHeartbeatTime
	}
	return !equality.Semantic.DeepEqual(&bare, virtual)
}
