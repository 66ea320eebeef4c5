package admission

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// newSet returns a StatefulSet with a template of about size bytes.
func newSet(replicas int32, size int) *appsv1.StatefulSet {
	marks := map[string]string{"app": "shop"}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Spec:       appsv1.StatefulSetSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: marks}},
	}
	set.Spec.Template.Labels = marks
	set.Spec.Template.Annotations = map[string]string{"size": strings.Repeat("x", size)}
	return set
}

// newRevision returns a revision of the StatefulSet of [newSet].
func newRevision(size int) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-1", Labels: map[string]string{"app": "shop"}},
		Data:       runtime.RawExtension{Raw: make([]byte, size)},
	}
}

// TestReplicas checks how many replicas StatefulSets may have. Without a limit, the controller of
// Kubernetes builds a billion pods at once, in the process of the API server.
func TestReplicas(t *testing.T) {
	t.Parallel()
	sets := appsv1.SchemeGroupVersion.WithResource("statefulsets")
	revisions := appsv1.SchemeGroupVersion.WithResource("controllerrevisions")
	newScale := func(replicas int32) *autoscalingv1.Scale {
		return &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	}
	texts := map[string]string{}
	for name, c := range map[string]struct {
		reason   string
		resource schema.GroupVersionResource
		sub      string
		old, new runtime.Object
		stored   []runtime.Object
		denied   bool
	}{
		"ordinary":              {reason: "more than a quota of pods allows", resource: sets, new: newSet(2000, 1000)},
		"billion":               {reason: "more than the memory", resource: sets, new: newSet(1<<31-1, 0), denied: true},
		"large template":        {reason: "each pod has its own copy", resource: sets, new: newSet(2000, 100_000), denied: true},
		"update":                {reason: "as a create", resource: sets, old: newSet(1, 0), new: newSet(1<<30, 0), denied: true},
		"larger template":       {reason: "as a create", resource: sets, old: newSet(2000, 0), new: newSet(2000, 100_000), denied: true},
		"older than the check":  {reason: "its labels must be writable", resource: sets, old: newSet(1<<30, 0), new: newSet(1<<30, 0)},
		"fewer":                 {reason: "it makes it better", resource: sets, old: newSet(1<<30, 0), new: newSet(1<<29, 0)},
		"status":                {reason: "nobody builds pods by it", resource: sets, sub: "status", old: newSet(0, 0), new: newSet(1<<30, 0)},
		"scale":                 {reason: "as an update", resource: sets, sub: "scale", old: newScale(1), new: newScale(1 << 30), stored: []runtime.Object{newSet(1, 0)}, denied: true},
		"ordinary scale":        {reason: "it fits", resource: sets, sub: "scale", old: newScale(1), new: newScale(2000), stored: []runtime.Object{newSet(1, 0), newRevision(4000)}},
		"scale of large pods":   {reason: "the template counts", resource: sets, sub: "scale", old: newScale(1), new: newScale(2000), stored: []runtime.Object{newSet(1, 100_000)}, denied: true},
		"scale down":            {reason: "it makes it better", resource: sets, sub: "scale", old: newScale(1 << 30), new: newScale(1 << 29), stored: []runtime.Object{newSet(1<<30, 0)}},
		"scale of old revision": {reason: "pods are built of it too", resource: sets, sub: "scale", old: newScale(1), new: newScale(200), stored: []runtime.Object{newSet(1, 0), newRevision(1 << 20)}, denied: true},
		"revision":              {reason: "it fits", resource: revisions, new: newRevision(4000), stored: []runtime.Object{newSet(2000, 0)}},
		"large revision":        {reason: "pods are built of it too", resource: revisions, new: newRevision(1 << 20), stored: []runtime.Object{newSet(200, 0)}, denied: true},
		"revision of few":       {reason: "it fits", resource: revisions, new: newRevision(1 << 20), stored: []runtime.Object{newSet(5, 0)}},
	} {
		checks := Checks{}
		AddReplicaChecks(checks, func() (kubernetes.Interface, error) { return fake.NewClientset(c.stored...), nil })
		operation := admission.Update
		if c.old == nil {
			operation = admission.Create
		}
		err := Policy(PolicyOptions{Checks: checks}).Validate(t.Context(), admission.NewAttributesRecord(c.new, c.old, schema.GroupVersionKind{},
			"shop", "db", c.resource, c.sub, operation, nil, false, nil), nil)
		if (err != nil) != c.denied {
			t.Errorf("%s: %s: denied is %v, want %t", name, c.reason, err, c.denied)
		}
		if err != nil {
			texts[name] = err.Error()
		}
	}
	checkGolden(t, "replicas.txt", texts)
}

// TestScheduleTime checks that the controller of CronJobs need not count the runs of centuries.
func TestScheduleTime(t *testing.T) {
	t.Parallel()
	plugin := Policy(PolicyOptions{Checks: PolicyChecks(v1alpha1.Default(), nil)})
	for year, denied := range map[int]bool{1: true, 1969: true, 2020: false, 2089: false, 2097: true} {
		last := metav1.Date(year, 1, 1, 0, 0, 0, 0, metav1.Now().UTC().Location())
		job := &batchv1.CronJob{Status: batchv1.CronJobStatus{LastScheduleTime: &last}}
		err := plugin.Validate(t.Context(), admission.NewAttributesRecord(job, &batchv1.CronJob{}, schema.GroupVersionKind{}, "shop", "nightly",
			batchv1.SchemeGroupVersion.WithResource("cronjobs"), "status", admission.Update, nil, false, nil), nil)
		if (err != nil) != denied {
			t.Errorf("a last run in %d: denied is %v, want %t", year, err, denied)
		}
	}
}

// TestStartingDeadline checks that the controller of CronJobs does not count runs for ever.
func TestStartingDeadline(t *testing.T) {
	t.Parallel()
	plugin := Policy(PolicyOptions{Checks: PolicyChecks(v1alpha1.Default(), nil)})
	job := func(seconds int64) *batchv1.CronJob {
		return &batchv1.CronJob{Spec: batchv1.CronJobSpec{StartingDeadlineSeconds: &seconds}}
	}
	for name, c := range map[string]struct {
		old, new *batchv1.CronJob
		denied   bool
	}{
		"ordinary":  {new: job(200)},
		"century":   {new: job(maxDeadline)},
		"overflow":  {new: job(16_190_000_000), denied: true},
		"raised":    {old: job(200), new: job(16_190_000_000), denied: true},
		"unchanged": {old: job(16_190_000_000), new: job(16_190_000_000)},
	} {
		operation, old := admission.Create, runtime.Object(nil)
		if c.old != nil {
			operation, old = admission.Update, c.old
		}
		err := plugin.Validate(t.Context(), admission.NewAttributesRecord(c.new, old, schema.GroupVersionKind{}, "shop", "nightly",
			batchv1.SchemeGroupVersion.WithResource("cronjobs"), "", operation, nil, false, nil), nil)
		if (err != nil) != c.denied {
			t.Errorf("%s: %v, want a denial: %t", name, err, c.denied)
		}
	}
}

// pagedClient is a client whose lists have several pages. A list ends when the test lets it.
type pagedClient struct {
	kubernetes.Interface
	appsv1client.AppsV1Interface
	pages    int
	revision *appsv1.ControllerRevision // in each page of revisions
	set      *appsv1.StatefulSet        // in each page of StatefulSets
	lists    *listCounter
}

// listCounter counts the lists of a client.
type listCounter struct {
	release               chan struct{} // lets one list end
	now, most, all, reads atomic.Int32
	unlimited             atomic.Bool
}

// list counts a list, waits for its release and returns the token of the next page.
func (l *listCounter) list(options metav1.ListOptions, pages int) (token string) {
	l.most.Store(max(l.most.Load(), l.now.Add(1)))
	l.all.Add(1)
	if options.Limit <= 0 || options.Limit > 16 {
		l.unlimited.Store(true)
	}
	<-l.release
	l.now.Add(-1)
	page, _ := strconv.Atoi(options.Continue)
	if page++; page < pages {
		token = strconv.Itoa(page)
	}
	return token
}

func (c pagedClient) AppsV1() appsv1client.AppsV1Interface { return c }

func (c pagedClient) ControllerRevisions(string) appsv1client.ControllerRevisionInterface {
	return pagedRevisions{client: c}
}

func (c pagedClient) StatefulSets(string) appsv1client.StatefulSetInterface {
	return pagedSets{client: c}
}

type pagedRevisions struct {
	appsv1client.ControllerRevisionInterface
	client pagedClient
}

func (p pagedRevisions) List(_ context.Context, options metav1.ListOptions) (*appsv1.ControllerRevisionList, error) {
	token := p.client.lists.list(options, p.client.pages)
	return &appsv1.ControllerRevisionList{
		ListMeta: metav1.ListMeta{Continue: token}, Items: []appsv1.ControllerRevision{*p.client.revision},
	}, nil
}

type pagedSets struct {
	appsv1client.StatefulSetInterface
	client pagedClient
}

func (p pagedSets) Get(context.Context, string, metav1.GetOptions) (*appsv1.StatefulSet, error) {
	p.client.lists.reads.Add(1)
	return p.client.set, nil
}

func (p pagedSets) List(_ context.Context, options metav1.ListOptions) (*appsv1.StatefulSetList, error) {
	token := p.client.lists.list(options, p.client.pages)
	return &appsv1.StatefulSetList{ListMeta: metav1.ListMeta{Continue: token}, Items: []appsv1.StatefulSet{*p.client.set}}, nil
}

// TestReplicasAreReadInTurn checks that many requests do not have many lists in memory, and that a list has a limit.
func TestReplicasAreReadInTurn(t *testing.T) {
	t.Parallel()
	scale := func(replicas int32) *autoscalingv1.Scale {
		return &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	}
	sets, revisions := appsv1.SchemeGroupVersion.WithResource("statefulsets"), appsv1.SchemeGroupVersion.WithResource("controllerrevisions")
	small, large := newRevision(1000), newRevision(1<<20)
	for name, c := range map[string]struct {
		resource schema.GroupVersionResource
		sub      string
		old, new runtime.Object
		revision *appsv1.ControllerRevision
		lists    int32 // of one request, of three pages
		denied   bool
	}{
		"scale":              {resource: sets, sub: "scale", old: scale(1), new: scale(200), revision: small, lists: 3},
		"scale too far":      {resource: sets, sub: "scale", old: scale(1), new: scale(200), revision: large, lists: 1, denied: true},
		"create":             {resource: sets, new: newSet(200, 0), revision: small, lists: 3},
		"revision":           {resource: revisions, new: newRevision(8 << 10), revision: small, lists: 3},
		"revision too large": {resource: revisions, new: large, revision: small, lists: 1, denied: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const requests = 20
				lists := &listCounter{release: make(chan struct{})}
				client := pagedClient{pages: 3, revision: c.revision, set: newSet(200, 0), lists: lists}
				checks := Checks{}
				AddReplicaChecks(checks, func() (kubernetes.Interface, error) { return client, nil })
				operation := admission.Update
				if c.old == nil {
					operation = admission.Create
				}
				attributes := admission.NewAttributesRecord(c.new, c.old, schema.GroupVersionKind{}, "shop", "db", c.resource, c.sub, operation, nil, true, nil)
				decisions := make(chan error)
				for range requests {
					go func() {
						decision, err := checks[c.resource.GroupResource()](t.Context(), attributes, nil)
						if denied := len(decision.Violations) > 0; err == nil && denied != c.denied {
							err = fmt.Errorf("denied is %t, want %t", denied, c.denied)
						}
						decisions <- err
					}()
				}
				synctest.Wait() // All requests wait now.
				if now := lists.now.Load(); now != 1 {
					t.Errorf("%d lists at a time, want 1", now)
				}
				if reads := lists.reads.Load(); reads > 1 {
					t.Errorf("%d requests have read the StatefulSet, want at most 1", reads)
				}
				close(lists.release)
				for range requests {
					if err := <-decisions; err != nil {
						t.Error(err)
					}
				}
				if most, all := lists.most.Load(), lists.all.Load(); most != 1 || all != requests*c.lists {
					t.Errorf("%d lists, of which %d at a time; want %d, one at a time", all, most, requests*c.lists)
				}
				if lists.unlimited.Load() {
					t.Error("a list has no small limit")
				}
			})
		})
	}
}

// TestReplicasAreNotReadForEver checks that a request that has ended does not wait.
func TestReplicasAreNotReadForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lists := &listCounter{release: make(chan struct{})}
		client := pagedClient{pages: 1, revision: newRevision(1000), set: newSet(200, 0), lists: lists}
		checks := Checks{}
		AddReplicaChecks(checks, func() (kubernetes.Interface, error) { return client, nil })
		attributes := admission.NewAttributesRecord(newSet(200, 0), nil, schema.GroupVersionKind{}, "shop", "db",
			appsv1.SchemeGroupVersion.WithResource("statefulsets"), "", admission.Create, nil, true, nil)
		check := checks[appsv1.Resource("statefulsets")]
		go func() { _, _ = check(t.Context(), attributes, nil) }()
		synctest.Wait() // The first request lists.
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() {
			_, err := check(ctx, attributes, nil)
			result <- err
		}()
		synctest.Wait() // The second one waits.
		cancel()
		if err := <-result; !apierrors.IsTimeout(err) {
			t.Errorf("the request ends with %v, want a timeout", err)
		}
		close(lists.release)
	})
}
