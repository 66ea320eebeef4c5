package virtualscheduler

import (
	"sync"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// TestEndedPodsAreGone checks that a handler sees finished pods as deleted.
func TestEndedPodsAreGone(t *testing.T) {
	t.Parallel()
	phase := func(name string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: corev1.PodStatus{Phase: phase}}
	}
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(phase("runs", corev1.PodRunning), phase("ended", corev1.PodSucceeded))
		shared := informers.NewSharedInformerFactory(client, 0)
		var mu sync.Mutex
		there, others := map[string]bool{}, 0
		pods := (&sharedInformers{shared}).Core().V1().Pods()
		_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) { mu.Lock(); defer mu.Unlock(); there[o.(*corev1.Pod).Name] = true },
			DeleteFunc: func(o any) {
				mu.Lock()
				defer mu.Unlock()
				delete(there, o.(*corev1.Pod).Name)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = shared.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { mu.Lock(); defer mu.Unlock(); others++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		shared.Start(stop)
		shared.WaitForCacheSync(stop)
		synctest.Wait()
		see := func(what string, want bool) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if there["runs"] != want || there["ended"] || len(there) > 1 || others != 2 {
				t.Errorf("%s: the scheduler has %v, others %d", what, there, others)
			}
		}
		see("at the start", true)
		if _, err := client.CoreV1().Pods("shop").UpdateStatus(t.Context(), phase("runs", corev1.PodFailed), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		see("at its end", false)
		if err := client.CoreV1().Pods("shop").Delete(t.Context(), "runs", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		see("when it is deleted", false)
		close(stop)
		shared.Shutdown()
	})
}
