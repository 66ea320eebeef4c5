package admission

import (
	"context"
	"fmt"
	"strconv"

	"golang.org/x/sync/semaphore"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// checkedPage is how many objects the checks have in memory at a time. Each may be as large as largestRevision.
	checkedPage = 8
)

// AddReplicaChecks adds checks of what the StatefulSet controller builds in memory. A set with a
// billion replicas would end the process, also after each restart.
func AddReplicaChecks(checks Checks, client func() (kubernetes.Interface, error)) {
	c := replicaCheck{client: client, reading: semaphore.NewWeighted(1)}
	checks.Add(appsv1.Resource("statefulsets"), c.checkSets)
	checks.Add(appsv1.Resource("controllerrevisions"), c.checkRevisions)
}

// replicaCheck evaluates the number of replicas of StatefulSets.
type replicaCheck struct {
	// client returns a client of the virtual cluster.
	client func() (kubernetes.Interface, error)
	// reading lets one request at a time read stored objects. What the process reads counts in no budget of the tenant's
	// requests.
	reading *semaphore.Weighted
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
	if decision, done := checkTemplate(set, replicasOf(set)); done {
		return decision, nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return Decision{}, err
	}
	defer unlock()
	return c.checkStored(ctx, a, set, replicasOf(set))
}

// lock waits until no other request reads stored objects. The caller must call unlock.
func (c replicaCheck) lock(ctx context.Context) (unlock func(), err error) {
	if err := c.reading.Acquire(ctx, 1); err != nil {
		return nil, apierrors.NewTimeoutError("the replicas of other StatefulSets are being checked; try again", 1)
	}
	return func() { c.reading.Release(1) }, nil
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
	unlock, err := c.lock(ctx)
	if err != nil {
		return Decision{}, err
	}
	defer unlock()
	set, err := client.AppsV1().StatefulSets(a.GetNamespace()).Get(ctx, a.GetName(), metav1.GetOptions{})
	if err != nil {
		return Decision{}, err
	}
	if decision, done := checkTemplate(set, int64(scale.Spec.Replicas)); done {
		return decision, nil
	}
	return c.checkStored(ctx, a, set, int64(scale.Spec.Replicas))
}

// checkTemplate evaluates a number of replicas of a StatefulSet by its template. done is false if its revisions count too.
func checkTemplate(set *appsv1.StatefulSet, replicas int64) (decision Decision, done bool) {
	if most := maxReplicaBytes / int64(set.Spec.Size()+podBytes); replicas > most {
		return tooManyReplicas(replicas, most), true
	}
	return Decision{}, replicas <= maxRevisionBytes/largestRevision
}

// checkStored evaluates a number of replicas by the stored revisions of a StatefulSet. The caller holds the lock.
func (c replicaCheck) checkStored(ctx context.Context, a admission.Attributes, set *appsv1.StatefulSet, replicas int64) (Decision, error) {
	return c.checkPages(metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(set.Spec.Selector)},
		func(client kubernetes.Interface, options metav1.ListOptions) (Decision, string, error) {
			revisions, err := client.AppsV1().ControllerRevisions(a.GetNamespace()).List(ctx, options)
			if err != nil {
				return Decision{}, "", err
			}
			for i := range revisions.Items {
				if most := mostOfRevision(&revisions.Items[i]); replicas > most {
					return tooManyReplicas(replicas, most), "", nil
				}
			}
			return Decision{}, revisions.Continue, nil
		})
}

// checkPages evaluates pages of objects until one has a violation. check lists a page with the options that it gets, and
// returns the token of the next page, empty after the last. The caller holds the lock.
func (c replicaCheck) checkPages(options metav1.ListOptions, check func(kubernetes.Interface, metav1.ListOptions) (Decision, string, error)) (Decision, error) {
	client, err := c.client()
	if err != nil {
		return Decision{}, err
	}
	options.Limit = checkedPage
	for {
		decision, next, err := check(client, options)
		if err != nil || len(decision.Violations) > 0 || next == "" {
			return decision, err
		}
		options.Continue = next
	}
}

// checkRevisions evaluates a revision of a StatefulSet that has its replicas already.
func (c replicaCheck) checkRevisions(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	revision, _, err := writtenObject[appsv1.ControllerRevision](a, o)
	if err != nil || revision == nil || maxReplicaBytes/podBytes <= mostOfRevision(revision) {
		return Decision{}, err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return Decision{}, err
	}
	defer unlock()
	return c.checkPages(metav1.ListOptions{}, func(client kubernetes.Interface, options metav1.ListOptions) (Decision, string, error) {
		sets, err := client.AppsV1().StatefulSets(a.GetNamespace()).List(ctx, options)
		if err != nil {
			return Decision{}, "", err
		}
		for i := range sets.Items {
			if violation, found := checkRevisionOf(&sets.Items[i], revision); found {
				return Decision{Violations: []policy.Violation{violation}}, "", nil
			}
		}
		return Decision{}, sets.Continue, nil
	})
}

// checkRevisionOf returns a violation if a revision is too large for the replicas of a StatefulSet that may be its own.
func checkRevisionOf(set *appsv1.StatefulSet, revision *appsv1.ControllerRevision) (violation policy.Violation, found bool) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil || !selector.Matches(labels.Set(revision.Labels)) || replicasOf(set) <= mostOfRevision(revision) {
		return policy.Violation{}, false
	}
	return policy.Violation{
		Field: "data", Value: fmt.Sprintf("%d bytes", len(revision.Data.Raw)),
		Detail: fmt.Sprintf("StatefulSet %s has %d replicas, and with this revision at most %d are allowed", set.Name, replicasOf(set), mostOfRevision(revision)),
	}, true
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
