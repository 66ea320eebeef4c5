package scheduler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sublet-dev/sublet/test/await"
)

// TestKubectlDrain drains a node as a tenant does, with kubectl. The pods leave it
// as fast as their budget allows, and the host does not notice.
func TestKubectlDrain(t *testing.T) {
	t.Parallel()
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("there is no kubectl: ", err)
	}
	const replicas, budget = 6, 5
	host := newHost(t, 3)
	s := open(t, host, "drain", nil)
	s.awaitOpen(t)
	node := host.Nodes()[1]
	spreadOver(t, s, replicas, budget)
	if on := s.nodesOf(t, replicas); on[node] != replicas/len(host.Nodes()) {
		t.Fatalf("the pods are on %v", on)
	}
	eventually(t, "the budget knows its pods", func(ctx context.Context) error {
		found, err := s.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Get(ctx, "web", metav1.GetOptions{})
		if err == nil && found.Status.DisruptionsAllowed != replicas-budget {
			err = fmt.Errorf("it allows %d disruptions", found.Status.DisruptionsAllowed)
		}
		return err
	})
	before := hostNode(t, s, node)
	least := s.leastAvailable(t)

	content, err := s.server.Kubeconfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", kubeconfig, "drain", node, "--timeout", patience.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl drain: %v\n%s", err, out)
	}
	if on := s.nodesOf(t, replicas); on[node] != 0 {
		t.Errorf("after the drain of %s the pods are on %v", node, on)
	}
	if got := least(); got != budget {
		t.Errorf("there were as few as %d pods available, the budget is %d", got, budget)
	}
	if virtual, err := s.client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{}); err != nil || !virtual.Spec.Unschedulable {
		t.Errorf("the drained node is not cordoned: %v", err)
	}
	if diff := cmp.Diff(before, hostNode(t, s, node)); diff != "" {
		t.Errorf("the host's node has changed (-before +after):\n%s", diff)
	}
	eventually(t, "both sides agree", func(ctx context.Context) error {
		_, err := s.agree(ctx)
		return errors.Join(err, overcommitted(ctx, host))
	})
}

// spreadOver makes a Deployment that is even over the nodes, with a budget.
func spreadOver(t *testing.T, s *shop, replicas, budget int32) {
	t.Helper()
	pods := template(newPod("", "cpu", "1"))
	// As pods are: their kubelet has to end them before they are gone.
	pods.Spec.TerminationGracePeriodSeconds = new(int64(30))
	pods.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, LabelSelector: selector(),
		// A cordoned node does not count, or its share could go nowhere.
		WhenUnsatisfiable: corev1.DoNotSchedule, NodeTaintsPolicy: new(corev1.NodeInclusionPolicyHonor),
	}}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: new(replicas), Selector: selector(), Template: pods},
	}
	if _, err := s.client.AppsV1().Deployments(metav1.NamespaceDefault).Create(t.Context(), deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	disruption := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector(), MinAvailable: new(intstr.FromInt32(budget))},
	}
	if _, err := s.client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault).Create(t.Context(), disruption, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// onHost is what others may have done to a node of the host.
type onHost struct {
	Labels, Annotations map[string]string
	Spec                corev1.NodeSpec
}

func hostNode(t *testing.T, s *shop, name string) onHost {
	t.Helper()
	node, err := s.host.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return onHost{node.Labels, node.Annotations, node.Spec}
}

// leastAvailable counts the available pods after each change of one, in the order of the
// changes. The returned function returns the least number so far.
func (s *shop) leastAvailable(t *testing.T) func() int {
	t.Helper()
	pods := s.client.CoreV1().Pods(metav1.NamespaceDefault)
	list, err := pods.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changes := await.Changes(t, list.ResourceVersion, pods.Watch)
	count := &available{pods: map[types.UID]bool{}, versions: map[types.UID]string{}}
	for i := range list.Items {
		count.observe(&list.Items[i], false)
	}
	count.least = len(count.pods)
	go func() {
		for event := range changes {
			if pod, is := event.Object.(*corev1.Pod); is {
				count.observe(pod, event.Type == watch.Deleted)
			}
		}
	}()
	return func() int {
		t.Helper()
		least := 0
		eventually(t, "every change was counted", func(ctx context.Context) error {
			now, err := pods.List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			least, err = count.upTo(now.Items)
			return err
		})
		return least
	}
}

// available are the pods that a budget counts.
type available struct {
	mu       sync.Mutex
	pods     map[types.UID]bool
	versions map[types.UID]string
	least    int
}

func (a *available) observe(pod *corev1.Pod, deleted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.versions[pod.UID] = pod.ResourceVersion
	if deleted {
		delete(a.versions, pod.UID)
	}
	if deleted || pod.DeletionTimestamp != nil || !ready(pod) {
		delete(a.pods, pod.UID)
	} else {
		a.pods[pod.UID] = true
	}
	a.least = min(a.least, len(a.pods))
}

// upTo returns the least number, if all changes that led to these pods were seen.
func (a *available) upTo(pods []corev1.Pod) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	want := map[types.UID]string{}
	for i := range pods {
		want[pods[i].UID] = pods[i].ResourceVersion
	}
	if diff := cmp.Diff(want, a.versions); diff != "" {
		return 0, fmt.Errorf("the watch is behind (-there +seen):\n%s", diff)
	}
	return a.least, nil
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
