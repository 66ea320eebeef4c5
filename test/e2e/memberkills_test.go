//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/labels"
)

// longVariable makes tests take minutes more.
const longVariable = "SUBLET_TEST_LONG"

// memberLoad is what TestMembers does to a virtual cluster.
type memberLoad struct {
	pods, kills int
	podsPerKill int // created while a replica is dead
}

// newMemberLoad returns the load of a run that takes minutes more, or the usual one.
func newMemberLoad() memberLoad {
	if os.Getenv(longVariable) != "" {
		return memberLoad{pods: 300, kills: 20, podsPerKill: 3}
	}
	return memberLoad{pods: 20, kills: 3, podsPerKill: 10}
}

// killMembers kills one of three replicas after the other, while a client writes and pods are
// created. No acknowledged write is lost, and no pod ever has two host pods.
func (tn *tenant) killMembers(load memberLoad) {
	copies := tn.watchCopies()
	w := tn.startWriter("kills")
	begin := time.Now()
	for i := range load.kills {
		pod := fmt.Sprintf("%s-%d", tn.release, i%3)
		before := tn.replica(pod)
		killPod(tn.t, pod)
		for j := range load.podsPerKill {
			tn.createPod(tn.t.Context(), fmt.Sprintf("kills-%d-%d", i, j))
		}
		if before.Status.ContainerStatuses[0].RestartCount > 0 {
			tn.replace(before) // The kubelet would wait longer before each restart.
		}
		eventually(tn.t, pod+" is back", func(ctx context.Context) error { return tn.isBack(ctx, before) })
		tn.awaitMembers(3)
	}
	tn.t.Logf("%d kills took %s", load.kills, time.Since(begin).Round(time.Millisecond))
	tn.kubectl("wait", "--for", "condition=Ready", "pod", "-l", "test=kill", "--timeout", patience.String())
	w.check("kills")
	copies.check(tn, load.pods+load.kills*load.podsPerKill)
}

// replica returns the pod of a replica.
func (tn *tenant) replica(pod string) *corev1.Pod {
	tn.t.Helper()
	found, err := hostClient.CoreV1().Pods(tn.namespace).Get(tn.t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		tn.t.Fatal(err)
	}
	return found
}

// replace deletes the pod of a replica that was killed.
func (tn *tenant) replace(pod *corev1.Pod) {
	tn.t.Helper()
	err := hostClient.CoreV1().Pods(tn.namespace).Delete(tn.t.Context(), pod.Name,
		metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		tn.t.Fatal(err)
	}
}

// isBack returns an error unless a replica that was killed is ready again.
func (tn *tenant) isBack(ctx context.Context, before *corev1.Pod) error {
	now, err := hostClient.CoreV1().Pods(tn.namespace).Get(ctx, before.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(now.Status.ContainerStatuses) == 0 {
		return errors.New("it has no container yet")
	}
	restarted := now.UID != before.UID || now.Status.ContainerStatuses[0].RestartCount > before.Status.ContainerStatuses[0].RestartCount
	if !restarted || !now.Status.ContainerStatuses[0].Ready {
		return fmt.Errorf("restarted %v, ready %v", restarted, now.Status.ContainerStatuses[0].Ready)
	}
	return nil
}

// copyLog records the host pods of each virtual pod.
type copyLog struct {
	mu   sync.Mutex
	uids map[string]map[types.UID]bool // UID of the virtual pod -> UIDs of its host pods
}

// watchCopies records host pods until the test ends.
func (tn *tenant) watchCopies() *copyLog {
	tn.t.Helper()
	config := rest.CopyConfig(hostConfig)
	config.Timeout = 0 // The watch lasts as long as the test.
	pods := kubernetes.NewForConfigOrDie(config).CoreV1().Pods(tn.namespace)
	options := metav1.ListOptions{LabelSelector: "sublet.dev/cluster"}
	list, err := pods.List(tn.t.Context(), options)
	if err != nil {
		tn.t.Fatal(err)
	}
	l := &copyLog{uids: map[string]map[types.UID]bool{}}
	for i := range list.Items {
		l.record(&list.Items[i])
	}
	options.ResourceVersion = list.ResourceVersion
	changes, err := pods.Watch(tn.t.Context(), options)
	if err != nil {
		tn.t.Fatal(err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for event := range changes.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				l.record(pod)
			}
		}
	})
	tn.t.Cleanup(func() { changes.Stop(); watching.Wait() })
	return l
}

func (l *copyLog) record(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	virtual := pod.Annotations[labels.VirtualUID]
	if l.uids[virtual] == nil {
		l.uids[virtual] = map[types.UID]bool{}
	}
	l.uids[virtual][pod.UID] = true
}

// check fails the test unless there are so many virtual pods, and each has had one host pod.
func (l *copyLog) check(tn *tenant, want int) {
	tn.t.Helper()
	pods, err := tn.virtual.CoreV1().Pods("default").List(tn.t.Context(), metav1.ListOptions{LabelSelector: "test=kill"})
	if err != nil {
		tn.t.Fatal(err)
	}
	if len(pods.Items) != want {
		tn.t.Errorf("%d virtual pods, want the %d that were created", len(pods.Items), want)
	}
	for i := range pods.Items {
		uid := string(pods.Items[i].UID)
		eventually(tn.t, "the host pod of "+pods.Items[i].Name, func(context.Context) error { return l.has(uid) })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for virtual, copies := range l.uids {
		if len(copies) != 1 {
			tn.t.Errorf("virtual pod %s has had %d host pods", virtual, len(copies))
		}
	}
}

// has returns an error if no host pod of a virtual pod was seen.
func (l *copyLog) has(virtual string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.uids[virtual]) == 0 {
		return errors.New("it was never seen")
	}
	return nil
}

// checkKept fails the test if a host pod is gone, or is another one.
func checkKept(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, uid := range before {
		if after[name] != uid {
			t.Errorf("host pod %s was %s before and is %q now", name, uid, after[name])
		}
	}
}
