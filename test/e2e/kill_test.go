//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const killPods = 50

// testKill kills the server while pods are being created. All of them run once.
func testKill(t *testing.T, tn *tenant) {
	ctx := t.Context()
	before := tn.hostPods()
	made := make(chan int, killPods)
	go func() {
		defer close(made)
		for i := range killPods {
			tn.createPod(ctx, fmt.Sprintf("kill-%d", i))
			made <- i
		}
	}()
	for i := range made {
		if i == killPods/2 {
			break
		}
	}
	killed := time.Now()
	killServer(t, tn.release)
	tn.awaitReady()
	figure("kill_ready", time.Since(killed).Seconds(), "s")
	for range made { // every create is retried until it succeeds
	}

	tn.kubectl("wait", "--for", "condition=Ready", "pod", "-l", "test=kill", "--timeout", patience.String())
	eventually(t, "every virtual pod has one host pod", func(context.Context) error {
		if got := tn.hostPods() - before; got != killPods {
			return fmt.Errorf("%d host pods for %d virtual pods", got, killPods)
		}
		return nil
	})
	restarted := 0
	pods, err := tn.virtual.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "test=kill"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		restarted += int(pod.Status.ContainerStatuses[0].RestartCount)
	}
	if len(pods.Items) != killPods || restarted > 0 {
		t.Errorf("%d pods with %d restarts: want %d without any", len(pods.Items), restarted, killPods)
	}
	tn.kubectl("delete", "pods", "-l", "test=kill", "--wait=true")
	eventually(t, "the host pods go with them", func(context.Context) error {
		if got := tn.hostPods(); got != before {
			return fmt.Errorf("%d left over", got-before)
		}
		return nil
	})
}

// hostPods counts the host pods of all virtual pods in the tenant's namespace.
func (tn *tenant) hostPods() int {
	tn.t.Helper()
	list, err := hostClient.CoreV1().Pods(tn.namespace).List(tn.t.Context(), metav1.ListOptions{LabelSelector: "sublet.dev/cluster"})
	if err != nil {
		tn.t.Fatal(err)
	}
	return len(list.Items)
}

// newSleeper returns a pod that sleeps.
func newSleeper(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": "kill"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "main", Image: testImage, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"sleep", "100000"},
			}},
		},
	}
}

// createPod creates a pod and retries while the API is away, until patience is over or the context ends.
// A create whose answer was lost is seen as "already exists".
func (tn *tenant) createPod(ctx context.Context, name string) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	for limited.Err() == nil {
		_, latest := tn.virtual.CoreV1().Pods("default").Create(limited, newSleeper(name), metav1.CreateOptions{})
		if latest == nil || apierrors.IsAlreadyExists(latest) {
			return
		}
		if err == nil || limited.Err() == nil { // What the end of the time cuts off has no reason.
			err = latest
		}
		select {
		case <-limited.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	if ctx.Err() == nil {
		tn.t.Errorf("cannot create pod %s: %v", name, err)
	}
}

// killServer sends SIGKILL to the server process of a release. Its container's
// process is visible from the machine that the node runs on.
func killServer(t *testing.T, release string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(data), "\x00")
		if filepath.Base(args[0]) != "sublet-server" || !strings.Contains(strings.Join(args, " ")+" ", "--name="+release+" ") {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("cannot kill %d: %v", pid, err)
		}
		return
	}
	t.Fatalf("no process of release %s to kill", release)
}
