package kinds

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The annotations with which the volume binder of Kubernetes marks a bound claim.
const (
	bindCompleted     = "pv.kubernetes.io/bind-completed"
	boundByController = "pv.kubernetes.io/bound-by-controller"
)

// The annotations with the provisioner of a claim. They are copied once the claim is bound, so that no
// provisioner in the virtual cluster creates a volume for it.
const (
	provisionedBy     = "volume.kubernetes.io/storage-provisioner"
	provisionedByBeta = "volume.beta.kubernetes.io/storage-provisioner"
)

// selectedNode is the annotation with the node for which the host provisions a volume.
const selectedNode = "volume.kubernetes.io/selected-node"

// PersistentVolumeClaims copies the tenant's claims to the host, whose provisioners create the volumes.
// For a class with WaitForFirstConsumer, the host pod is the consumer of the host claim.
func PersistentVolumeClaims(o Options) syncer.Resource[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaim] {
	c := volumeClaims{virtualScheduler: o.VirtualScheduler, pods: o.PodPolicy, tolerations: o.Sync.ToHost.Pods.Tolerations(), nodes: allowedNodes(o.Sync)}
	r := syncer.Resource[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaim]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Down:  c.fillHost,
		Up:    c.fillVirtual,
		Refused: func(_ syncer.Scope, virtual *corev1.PersistentVolumeClaim, _ string) {
			if virtual.Status.Phase == corev1.ClaimBound {
				virtual.Status.Phase = corev1.ClaimLost
			}
		},
	}
	if o.VirtualScheduler {
		// Nodes are read when a scheduler of the tenant's own has picked one.
		r.Also = []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Node{}, Keys: noKeys},
			{Side: syncer.Host, Object: &corev1.Node{}, All: true, Keys: noKeys},
		}
	}
	return r
}

// volumeClaims is the kind with its settings.
type volumeClaims struct {
	virtualScheduler bool // if true, schedulers of the tenant's own may pick nodes too
	pods             *policy.Pods
	tolerations      []corev1.Toleration // that the operator adds to all pods
	nodes            map[string]string   // the labels of the nodes that pods may run on
}

// fillHost fills in the host claim, including the node that a scheduler of the tenant has picked.
func (c volumeClaims) fillHost(s syncer.Scope, virtual, host *corev1.PersistentVolumeClaim) error {
	node, err := c.pickedNode(s, virtual, host)
	if err != nil {
		return err
	}
	if node != "" {
		setOrDeleteAnnotation(host, selectedNode, node)
	}
	return fillHostClaim(s, virtual, host)
}

// fillHostClaim fills in the host claim. In an existing claim, only the size and the attributes class
// can change. The host picks the volume, so volumeName is cleared. A selector is copied as it is,
// because the claim must not get another volume. A claim that was bound before gets no new host
// claim, because its data would be missing.
func fillHostClaim(s syncer.Scope, virtual, host *corev1.PersistentVolumeClaim) error {
	host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
	if host.ResourceVersion != "" {
		if err := growHostClaim(virtual, host); err != nil {
			return err
		}
		if virtual.Spec.VolumeAttributesClassName != nil || isFirstChange(host) {
			host.Spec.VolumeAttributesClassName = virtual.Spec.VolumeAttributesClassName
		}
		return nil
	}
	if phase := virtual.Status.Phase; phase == corev1.ClaimBound || phase == corev1.ClaimLost {
		return &translate.UnsupportedError{Problems: []error{fmt.Errorf(
			"spec.volumeName: the host no longer has the claim of volume %s, and another volume would be empty; create the claim again to get one", virtual.Spec.VolumeName)}}
	}
	spec := virtual.Spec
	spec.VolumeName = ""
	if class, named := translate.ClaimClass(virtual.Annotations, &virtual.Spec); named {
		spec.StorageClassName = &class
	}
	if source := spec.DataSource; source != nil {
		source.Name = hostName(s, virtual.Namespace, source.Name)
	}
	if source := spec.DataSourceRef; source != nil {
		if source.Namespace != nil && *source.Namespace != virtual.Namespace {
			return &translate.UnsupportedError{Problems: []error{fmt.Errorf(
				"spec.dataSourceRef.namespace: a volume can only be filled from an object of the claim's namespace, not of %s", *source.Namespace)}}
		}
		source.Name = hostName(s, virtual.Namespace, source.Name)
		source.Namespace = nil
	}
	host.Spec = spec
	return nil
}

// growHostClaim passes the size that the tenant requests. A claim that is that large already keeps
// the request that it has on the host. The operator, or a controller of the host, may have grown it, and
// the host refuses to shrink it. So does a claim that they are growing further than the tenant.
// Only a size that the tenant has requested before may become smaller, after an expansion that has failed.
// Until a claim is bound, the host lets no size change.
func growHostClaim(virtual, host *corev1.PersistentVolumeClaim) error {
	wanted, ok := virtual.Spec.Resources.Requests[corev1.ResourceStorage]
	capacity := host.Status.Capacity[corev1.ResourceStorage]
	if !ok || host.Status.Phase != corev1.ClaimBound || wanted.Cmp(capacity) <= 0 {
		return nil
	}
	have := host.Spec.Resources.Requests[corev1.ResourceStorage]
	if have.Cmp(wanted) > 0 && !isRequestedByTenant(host, have) {
		return nil
	}
	requests := maps.Clone(host.Spec.Resources.Requests)
	if requests == nil {
		requests = corev1.ResourceList{}
	}
	requests[corev1.ResourceStorage] = wanted
	host.Spec.Resources.Requests = requests
	_, err := translate.RecordKeys(host, sizeField, translate.LastApplied{sizeKey: wanted.String()})
	return err
}

// sizeField and sizeKey are where a copy records the last size that was written for the tenant.
const sizeField, sizeKey = "size", "storage"

// isRequestedByTenant reports whether a size of a host claim is the one that the tenant has requested
// last. A copy of an earlier version has no record of it, and its size counts as the operator's.
func isRequestedByTenant(host *corev1.PersistentVolumeClaim, size resource.Quantity) bool {
	text := translate.DecodeLastApplied(host.Annotations[labels.LastApplied])[sizeField][sizeKey]
	recorded, err := resource.ParseQuantity(text)
	return err == nil && recorded.Cmp(size) == 0
}

// isFirstChange reports whether a host claim is about to get its first attributes class. Until then,
// the tenant may revert the change. Without such a change, an attributes class that the host has
// assigned stays.
func isFirstChange(host *corev1.PersistentVolumeClaim) bool {
	return host.Status.CurrentVolumeAttributesClassName == nil && host.Status.ModifyVolumeStatus != nil
}

// fillVirtual copies the status, the selected node and the binding, with the annotations of the volume
// binder that tools read. The host clears the selected node if it cannot provision the volume there,
// so that another node can be picked.
func (c volumeClaims) fillVirtual(s syncer.Scope, host, virtual *corev1.PersistentVolumeClaim) error {
	node, err := c.pickedNode(s, virtual, host)
	if err != nil {
		return err
	}
	if node == "" {
		node = host.Annotations[selectedNode]
	}
	setOrDeleteAnnotation(virtual, selectedNode, node)
	if c.virtualScheduler && host.Spec.VolumeName == "" {
		setOrDeleteAnnotation(virtual, labels.ClaimNode, node)
	}
	conditions := mergeConditions(host.Status.Conditions, virtual.Status.Conditions)
	virtual.Status = host.Status
	virtual.Status.Conditions = conditions
	rewriteClaimStatus(s, host, virtual)
	if host.Spec.VolumeName == "" {
		return nil
	}
	if virtual.Spec.VolumeName == "" {
		virtual.Spec.VolumeName = host.Spec.VolumeName
	}
	if virtual.Spec.StorageClassName == nil {
		virtual.Spec.StorageClassName = host.Spec.StorageClassName
	}
	for mark, value := range map[string]string{
		bindCompleted: "yes", boundByController: "yes",
		provisionedBy: host.Annotations[provisionedBy], provisionedByBeta: host.Annotations[provisionedByBeta],
	} {
		if virtual.Annotations[mark] == "" {
			setOrDeleteAnnotation(virtual, mark, value)
		}
	}
	return nil
}

// rewriteClaimStatus replaces the names of the host in the messages of resizers and storage drivers.
func rewriteClaimStatus(s syncer.Scope, host, virtual *corev1.PersistentVolumeClaim) {
	names := statusNames(s, host, virtual)
	for i := range virtual.Status.Conditions {
		virtual.Status.Conditions[i].Message = names.RewriteError(virtual.Status.Conditions[i].Message)
	}
	if health := virtual.Status.HealthStatus; health != nil {
		for i := range health.HealthConditions {
			health.HealthConditions[i].Message = names.RewriteError(health.HealthConditions[i].Message)
		}
	}
}

// pickedNode returns the node that a scheduler of the tenant's own has picked for a claim. It is empty
// if the host has picked one, or has cleared this one. It must be passed on, because that scheduler
// binds its pod only after the claim is bound, and the host gets no pod before.
func (c volumeClaims) pickedNode(s syncer.Scope, virtual, host *corev1.PersistentVolumeClaim) (string, error) {
	node := virtual.Annotations[selectedNode]
	if !c.virtualScheduler || node == "" || node == virtual.Annotations[labels.ClaimNode] ||
		host.Annotations[selectedNode] != "" || host.Spec.VolumeName != "" {
		return "", nil
	}
	if open, err := c.mayRunOn(s, node); err != nil || !open {
		return "", err
	}
	return node, nil
}

// mayRunOn reports whether the tenant sees a node and its pods may be scheduled to it.
func (c volumeClaims) mayRunOn(s syncer.Scope, name string) (bool, error) {
	if shown, err := isNodeShown(s, name); err != nil || !shown {
		return false, err
	}
	var node corev1.Node
	if found, err := lookUp(s, syncer.Host, types.NamespacedName{Name: name}, &node); err != nil || !found {
		return false, err
	}
	if !apilabels.SelectorFromSet(c.nodes).Matches(apilabels.Set(node.Labels)) {
		return false, nil
	}
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Effect != corev1.TaintEffectPreferNoSchedule && !c.mayTolerate(taint)
	}), nil
}

// mayTolerate reports whether all pods of the tenant tolerate a taint of the host, or the policy allows
// them to.
func (c volumeClaims) mayTolerate(taint corev1.Taint) bool {
	asked := []corev1.Toleration{{Key: taint.Key, Operator: corev1.TolerationOpExists}}
	return c.pods == nil || len(c.pods.PassTolerations(asked)) > 0 || slices.ContainsFunc(c.tolerations, func(t corev1.Toleration) bool {
		return t.ToleratesTaint(klog.Background(), &taint, false)
	})
}

// setOrDeleteAnnotation sets an annotation of a claim, or deletes it if the value is empty.
func setOrDeleteAnnotation(claim *corev1.PersistentVolumeClaim, key, value string) {
	if value == "" {
		delete(claim.Annotations, key)
		return
	}
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, key, value)
}

// mergeConditions returns the host's conditions, except for the one that reports whether pods
// use the claim. A controller of the virtual cluster owns that one.
func mergeConditions(host, virtual []corev1.PersistentVolumeClaimCondition) []corev1.PersistentVolumeClaimCondition {
	unused := func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimUnused
	}
	kept := slices.DeleteFunc(slices.Clone(host), unused)
	if i := slices.IndexFunc(virtual, unused); i >= 0 {
		kept = append(kept, virtual[i])
	}
	return kept
}
