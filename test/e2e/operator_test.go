//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// refusalOfOwnStore returns why a second replica does not serve if each has a store of its own.
func refusalOfOwnStore(tn *tenant) string {
	return fmt.Sprintf("the store of pod %s-1 is not its store; scale StatefulSet %s back to 1 replica", tn.release, tn.release)
}

// refusalOfTwoMembers returns why a second replica does not join an embedded etcd.
func refusalOfTwoMembers(tn *tenant) string {
	return fmt.Sprintf("StatefulSet %s is to have 2 replicas, and no store gets safer by an even number of members: scale it to 1, 3 or 5", tn.release)
}

// testSecondReplica scales a release of one replica to two. The second pod must not serve, and must
// log the given reason.
func testSecondReplica(t *testing.T, tn *tenant, reason string) {
	ctx := t.Context()
	scale := func(replicas int) {
		t.Helper()
		mustRun(t, hostKubectl("-n", tn.namespace, "scale", "statefulset", tn.release, fmt.Sprintf("--replicas=%d", replicas)))
	}
	second := tn.release + "-1"
	pods := hostClient.CoreV1().Pods(tn.namespace)
	scale(2)
	t.Cleanup(func() {
		mustRun(t, hostKubectl("-n", tn.namespace, "scale", "statefulset", tn.release, "--replicas=1"))
		_ = hostKubectl("-n", tn.namespace, "delete", "pvc", "data-"+second, "--wait=false", "--ignore-not-found").Run()
	})
	eventually(t, "the second replica stops and logs why", func(ctx context.Context) error {
		pod, err := pods.Get(ctx, second, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if isReady(pod) {
			t.Fatalf("pod %s serves", second)
		}
		if !hasLogged(ctx, tn, pod, reason) {
			return fmt.Errorf("pod %s has not logged %q", second, reason)
		}
		return nil
	})
	// It must stay so: a replica that starts late would serve an empty store.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		pod, err := pods.Get(ctx, second, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if isReady(pod) {
			t.Fatalf("pod %s serves", second)
		}
		begin := time.Now()
		tn.awaitReady() // The first replica still serves. A busy one may fail for a moment.
		if took := time.Since(begin); took > time.Minute {
			t.Fatalf("the first replica did not serve for %s", took)
		}
	}
	scale(1)
	eventually(t, "the second replica is gone", func(ctx context.Context) error {
		if _, err := pods.Get(ctx, second, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("pod %s exists: %w", second, err)
		}
		return nil
	})
	tn.awaitReady()
}

// hasLogged reports whether the log of a pod, or of its container before the last restart, has a text.
func hasLogged(ctx context.Context, tn *tenant, pod *corev1.Pod, text string) bool {
	for _, previous := range []bool{false, true} {
		log, err := hostClient.CoreV1().Pods(tn.namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
		if err == nil && strings.Contains(string(log), text) {
			return true
		}
	}
	return false
}

// testOperatorPort checks what the operator's port shows to whom.
func testOperatorPort(t *testing.T, tn *tenant) {
	anonymous := rest.AnonymousClientConfig(tn.virtualConfig)
	anonymous.Insecure, anonymous.CAData, anonymous.CAFile = true, nil, ""
	client, err := rest.HTTPClientFor(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := hostClient.CoreV1().Pods(tn.namespace).Get(t.Context(), tn.controlPlanePod(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := hostClient.CoreV1().Secrets(tn.namespace).Get(t.Context(), tn.release+"-operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := string(secret.Data["token"])
	operator := pod.Status.PodIP + ":8444"
	denied := []int{http.StatusForbidden, http.StatusUnauthorized}
	for _, c := range []struct {
		reason string
		url    string
		token  string
		want   []int
	}{
		{"the kubelet's probes need no credentials", "http://" + operator + "/livez", "", []int{http.StatusOK}},
		{"the kubelet's probes need no credentials", "http://" + operator + "/readyz", "", []int{http.StatusOK}},
		{"metrics are not sent in clear text", "http://" + operator + "/metrics", token, denied},
		{"metrics need a token", "https://" + operator + "/metrics", "", denied},
		{"a wrong token is none", "https://" + operator + "/metrics", "wrong", denied},
		{"metrics with the token", "https://" + operator + "/metrics", token, []int{http.StatusOK}},
		{"the report needs a token", "https://" + operator + "/syncz", "", denied},
		{"the report with the token", "https://" + operator + "/syncz", token, []int{http.StatusOK}},
		{"profiling is off by default", "https://" + operator + "/debug/pprof/heap", token, []int{http.StatusNotFound}},
		{"the tenant's report needs a permission", tn.virtualConfig.Host + "/syncz", "", denied},
	} {
		eventually(t, c.reason, func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
			if err != nil {
				return err
			}
			if c.token != "" {
				request.Header.Set("Authorization", "Bearer "+c.token)
			}
			response, err := client.Do(request)
			if err != nil {
				return err
			}
			_ = response.Body.Close()
			if !slices.Contains(c.want, response.StatusCode) {
				return fmt.Errorf("GET %s: got %s, want one of %v", c.url, response.Status, c.want)
			}
			return nil
		})
	}
	eventually(t, "an admin of the virtual cluster may read its report", func(ctx context.Context) error {
		return tn.virtual.Discovery().RESTClient().Get().AbsPath("/syncz").Do(ctx).Error()
	})
}
