//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// sharedNamespace is the host namespace whose objects a tenant sees.
const sharedNamespace = "e2e-shared"

const classed = `
apiVersion: v1
kind: Pod
metadata: {name: classed}
spec:
  terminationGracePeriodSeconds: 0
  priorityClassName: e2e-shown
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'grep -q 2 /etc/trust/k && sleep infinity']
      volumeMounts: [{name: trust, mountPath: /etc/trust}]
  volumes: [{name: trust, configMap: {name: trust}}]
`

// shownValues returns the values of a release whose tenant sees objects of the host.
func shownValues() []string {
	values := []string{
		"sync.fromHost.runtimeClasses.selector.matchLabels.e2e=shown", "sync.fromHost.priorityClasses.selector.matchLabels.e2e=shown",
		"sync.fromHost.configMaps.mappings.byName." + sharedNamespace + "/ca=default/trust",
		"sync.fromHost.secrets.mappings.byName." + sharedNamespace + "/*=given/*",
	}
	for _, kind := range []string{"configMaps", "secrets", "runtimeClasses", "priorityClasses", "csiDrivers", "csiNodes", "csiStorageCapacities"} {
		values = append(values, "sync.fromHost."+kind+".enabled=true")
	}
	return values
}

// createShared creates what the host shows, and what it does not.
func createShared(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	deleteNamespace := func() {
		_ = hostClient.CoreV1().Namespaces().Delete(ctx, sharedNamespace, metav1.DeleteOptions{})
		for _, name := range []string{"e2e-shown", "e2e-hidden"} {
			_ = hostClient.NodeV1().RuntimeClasses().Delete(ctx, name, metav1.DeleteOptions{})
			_ = hostClient.SchedulingV1().PriorityClasses().Delete(ctx, name, metav1.DeleteOptions{})
		}
	}
	deleteNamespace()
	t.Cleanup(deleteNamespace)
	eventually(t, "namespace "+sharedNamespace, func(ctx context.Context) error {
		_, err := hostClient.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: sharedNamespace}}, metav1.CreateOptions{})
		return err
	})
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	for _, name := range []string{"ca", "other"} {
		object := metav1.ObjectMeta{Name: name}
		_, err := hostClient.CoreV1().ConfigMaps(sharedNamespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: object, Data: map[string]string{"k": "1"}}, metav1.CreateOptions{})
		add(err)
		_, err = hostClient.CoreV1().Secrets(sharedNamespace).Create(ctx, &corev1.Secret{ObjectMeta: object, Data: map[string][]byte{"k": []byte("s")}}, metav1.CreateOptions{})
		add(err)
	}
	for _, name := range []string{"shown", "hidden"} {
		object := metav1.ObjectMeta{Name: "e2e-" + name, Labels: map[string]string{"e2e": name}}
		_, err := hostClient.NodeV1().RuntimeClasses().Create(ctx, &nodev1.RuntimeClass{
			ObjectMeta: object, Handler: "e2e",
			Overhead: &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m")}},
			Scheduling: &nodev1.Scheduling{
				NodeSelector: map[string]string{"e2e": "nowhere"},
				Tolerations:  []corev1.Toleration{{Key: "e2e-sandbox", Operator: corev1.TolerationOpExists}},
			},
		}, metav1.CreateOptions{})
		add(err)
		_, err = hostClient.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: object, Value: 7}, metav1.CreateOptions{})
		add(err)
	}
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestObjectsOfTheHost shows objects of the host to a tenant with just the permissions of the
// chart. They follow their originals, and the tenant cannot change them.
func TestObjectsOfTheHost(t *testing.T) {
	t.Parallel()
	createShared(t)
	createHostServer(t)
	tn := install(t, "fromhost", "e2e-fromhost", append(shownValues(), replicatedValues()...)...)
	tn.hasTrust("1")
	tn.runSharing()
	tn.testSharedServices()
	eventually(t, "Secrets of a whole namespace", func(ctx context.Context) error {
		_, err := tn.virtual.CoreV1().Secrets("given").Get(ctx, "other", metav1.GetOptions{})
		return err
	})
	tn.cannotChange("configmap/trust")
	tn.cannotChange("runtimeclass/e2e-shown")
	tn.cannotChange("priorityclass/e2e-shown")

	original, err := hostClient.CoreV1().ConfigMaps(sharedNamespace).Get(t.Context(), "ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	original.Data["k"] = "2"
	if _, err := hostClient.CoreV1().ConfigMaps(sharedNamespace).Update(t.Context(), original, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	tn.hasTrust("2")
	tn.apply(classed)
	tn.await("condition=Ready", "pod/classed")
	if host := tn.hostPodOf("classed"); host.Spec.PriorityClassName != "e2e-shown" || *host.Spec.Priority != 7 {
		t.Errorf("the host pod must have the class that its pod names, got %q", host.Spec.PriorityClassName)
	}
	tn.hasRuntimeClass()
	checkReads(t, "system:serviceaccount:e2e-fromhost:fromhost")

	if err := hostClient.CoreV1().ConfigMaps(sharedNamespace).Delete(t.Context(), "ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of a copy", func(ctx context.Context) error {
		_, err := tn.virtual.CoreV1().ConfigMaps("default").Get(ctx, "trust", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there: %w", err)
	})
}

// hasTrust waits until the copy of the ConfigMap has a value.
func (tn *tenant) hasTrust(value string) {
	tn.t.Helper()
	eventually(tn.t, "ConfigMap trust with "+value, func(ctx context.Context) error {
		copied, err := tn.virtual.CoreV1().ConfigMaps("default").Get(ctx, "trust", metav1.GetOptions{})
		if err == nil && copied.Data["k"] != value {
			err = fmt.Errorf("it has %v", copied.Data)
		}
		return err
	})
}

// cannotChange checks that the tenant can neither change nor delete a copy.
func (tn *tenant) cannotChange(object string) {
	tn.t.Helper()
	eventually(tn.t, object, func(context.Context) error { return tn.command("get", object).Run() })
	for _, args := range [][]string{{"label", object, "mine=yes"}, {"annotate", object, labels.HostUID + "-"}, {"delete", object, "--wait=false"}} {
		out, err := tn.command(args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is the host's and cannot be changed here") {
			tn.t.Errorf("kubectl %s must be denied: %s", strings.Join(args, " "), out)
		}
	}
}

// hostPodOf returns the host copy of a pod.
func (tn *tenant) hostPodOf(name string) *corev1.Pod {
	tn.t.Helper()
	var found *corev1.Pod
	eventually(tn.t, "the host pod of "+name, func(ctx context.Context) error {
		pods, err := hostClient.CoreV1().Pods(tn.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			if pods.Items[i].Annotations[labels.VirtualName] == name {
				found = &pods.Items[i]
				return nil
			}
		}
		return fmt.Errorf("none of %d host pods is", len(pods.Items))
	})
	return found
}

// hasRuntimeClass checks that a pod may name the runtime class that is shown, and no other. The
// class selects no node, so that nothing needs its handler.
func (tn *tenant) hasRuntimeClass() {
	tn.t.Helper()
	pod := func(name, class string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			RuntimeClassName: &class, Containers: []corev1.Container{{Name: "main", Image: testImage}},
		}}
	}
	ctx := tn.t.Context()
	created, err := tn.virtual.CoreV1().Pods("default").Create(ctx, pod("sandboxed", "e2e-shown"), metav1.CreateOptions{})
	if err != nil {
		tn.t.Fatalf("a pod may name a class that is shown: %v", err)
	}
	host := tn.hostPodOf("sandboxed")
	if created.Spec.Overhead.Cpu().String() != "1m" || host.Spec.Overhead.Cpu().String() != "1m" || host.Spec.NodeSelector["e2e"] != "nowhere" {
		tn.t.Errorf("both pods must have what the class gives, got %v and %v", created.Spec.Overhead, host.Spec.Overhead)
	}
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-hidden"}, Handler: "mine"}
	if _, err := tn.virtual.NodeV1().RuntimeClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		tn.t.Fatal(err)
	}
	eventually(tn.t, "the denial of a class that is not shown", func(ctx context.Context) error {
		_, err := tn.virtual.CoreV1().Pods("default").Create(ctx, pod("hidden", "e2e-hidden"), metav1.CreateOptions{})
		if err == nil {
			tn.t.Fatal("a pod may name no class that is not shown")
		}
		if !strings.Contains(err.Error(), "policies.pods.runtimeClasses") {
			return err
		}
		return nil
	})
}

// checkReads checks that the account of a release may read what is mapped, and nothing else.
func checkReads(t *testing.T, account string) {
	t.Helper()
	for _, c := range []struct {
		verb, resource, name string
		want                 bool
	}{
		{"get", "configmaps", "ca", true}, {"watch", "configmaps", "ca", true}, {"get", "configmaps", "other", false},
		{"list", "configmaps", "", false}, {"update", "configmaps", "ca", false}, {"list", "secrets", "", true}, {"patch", "secrets", "other", false},
	} {
		review, err := hostClient.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: account, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: sharedNamespace, Verb: c.verb, Resource: c.resource, Name: c.name,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed != c.want {
			t.Errorf("%s %s %q: allowed %t", c.verb, c.resource, c.name, review.Status.Allowed)
		}
	}
}
