package admission

import (
	"context"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/policy"
)

const (
	// maxReplicaBytes is the maximum size of a StatefulSet in bytes, times its replicas.
	// Upstream's controller builds the pods of all replicas at once, before it creates the first.
	maxReplicaBytes = 8 << 20
	// podBytes is the size in bytes of a built pod without its template.
	podBytes = 2 << 10
	// maxRevisionBytes is the same maximum for the revisions of a StatefulSet, of which pods are
	// built too. They are stored as JSON, which is longer.
	maxRevisionBytes = 4 * maxReplicaBytes
	// largestRevision is the size in bytes of the largest object that the store takes.
	largestRevision = 3 << 19
)

// AddReplicaChecks adds checks of what the StatefulSet controller builds in memory. A set with a
// billion replicas would end the process, also after each restart.
func AddReplicaChecks(checks Checks, client func() (kubernetes.Interface, error)) {
	c := replicaCheck{client}
	checks.Add(appsv1.Resource("statefulsets"), c.checkSets)
	checks.Add(appsv1.Resource("controllerrevisions"), c.checkRevisions)
}

// replicaCheck evaluates the number of replicas of StatefulSets.
type replicaCheck struct {
	// client returns a client of the virtual cluster.
	client func() (kubernetes.Interface, error)
}

// checkSets evaluates a StatefulSet that is written or scaled. Fewer replicas of a smaller template are
// always allowed.
func (c replicaCheck) checkSets(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetSubresource() == "scale" && a.GetOperation() == admission.Update {
		return c.checkScale(ctx, a, o)
	}
	set, old, err := writtenObject[appsv1.StatefulSet](a, o)
	if err != nil || set == nil {
		return Decision{}, err
	}
	if old != nil && replicasOf(set) <= replicasOf(old) && set.Spec.Size() <= old.Spec.Size() {
		return Decision{}, nil
	}
	return c.check(ctx, a, set, replicasOf(set))
}

// checkScale evaluates a new number of replicas. The API server writes it only if nobody has changed
// the StatefulSet since this read.
func (c replicaCheck) checkScale(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	scale, err := toV1[autoscalingv1.Scale](a.GetObject(), o)
	if err != nil {
		return Decision{}, err
	}
	old, err := toV1[autoscalingv1.Scale](a.GetOldObject(), o)
	if err != nil || scale.Spec.Replicas <= old.Spec.Replicas {
		return Decision{}, err
	}
	client, err := c.client()
	if err != nil {
		return Decision{}, err
	}
	set, err := client.AppsV1().StatefulSets(a.GetNamespace()).Get(ctx, a.GetName(), metav1.GetOptions{})
	if err != nil {
		return Decision{}, err
	}
	return c.check(ctx, a, set, int64(scale.Spec.Replicas))
}

// check evaluates a number of replicas of a StatefulSet, and of the pods of its revisions.
func (c replicaCheck) check(ctx context.Context, a admission.Attributes, set *appsv1.StatefulSet, replicas int64) (Decision, error) {
	if most := maxReplicaBytes / int64(set.Spec.Size()+podBytes); replicas > most {
		return tooManyReplicas(replicas, most), nil
	}
	if replicas <= maxRevisionBytes/largestRevision {
		return Decision{}, nil
	}
	client, err := c.client()
	if err != nil {
		return Decision{}, err
	}
	options := metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(set.Spec.Selector)}
	revisions, err := client.AppsV1().ControllerRevisions(a.GetNamespace()).List(ctx, options)
	if err != nil {
		return Decision{}, err
	}
	for i := range revisions.Items {
		if most := mostOfRevision(&revisions.Items[i]); replicas > most {
			return tooManyReplicas(replicas, most), nil
		}
	}
	return Decision{}, nil
}

// checkRevisions evaluates a revision of a StatefulSet that has its replicas already.
func (c replicaCheck) checkRevisions(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	revision, _, err := writtenObject[appsv1.ControllerRevision](a, o)
	if err != nil || revision == nil || maxReplicaBytes/podBytes <= mostOfRevision(revision) {
		return Decision{}, err
	}
	client, err := c.client()
	if err != nil {
		return Decision{}, err
	}
	sets, err := client.AppsV1().StatefulSets(a.GetNamespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return Decision{}, err
	}
	for i := range sets.Items {
		set := &sets.Items[i]
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(revision.Labels)) || replicasOf(set) <= mostOfRevision(revision) {
			continue
		}
		return Decision{Violations: []policy.Violation{{
			Field: "data", Value: fmt.Sprintf("%d bytes", len(revision.Data.Raw)),
			Detail: fmt.Sprintf("StatefulSet %s has %d replicas, and with this revision at most %d are allowed", set.Name, replicasOf(set), mostOfRevision(revision)),
		}}}, nil
	}
	return Decision{}, nil
}

// mostOfRevision returns how many replicas a StatefulSet with a revision may have.
func mostOfRevision(revision *appsv1.ControllerRevision) int64 {
	return maxRevisionBytes / int64(len(revision.Data.Raw)+podBytes)
}

// replicasOf returns the number of replicas that a StatefulSet requests.
func replicasOf(set *appsv1.StatefulSet) int64 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int64(*set.Spec.Replicas)
}

// tooManyReplicas returns the denial of a number of replicas.
func tooManyReplicas(replicas, most int64) Decision {
	return Decision{Violations: []policy.Violation{{
		Field: "spec.replicas", Value: strconv.FormatInt(replicas, 10),
		Detail: fmt.Sprintf("the control plane has all replicas in memory; a StatefulSet with pods of this size may have at most %d", most),
	}}}
}
