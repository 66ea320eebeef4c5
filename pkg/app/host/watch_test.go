package host

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// anchorWatch returns a watch of the anchor of a host.
func anchorWatch(client *fake.Clientset, clock clock.Clock) *singleWatch[*corev1.ConfigMap] {
	return &singleWatch[*corev1.ConfigMap]{
		reader: client.CoreV1().ConfigMaps(shop().Namespace), name: shop().Anchor(), clock: clock,
		changed: func(*corev1.ConfigMap) error { return nil }, failed: func(error) {},
	}
}

// TestWatchOfOldObject watches an object that has not changed since the host's API server started. That server refuses a watch
// from the version of such an object.
func TestWatchOfOldObject(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	client.PrependWatchReactor("configmaps", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if version := action.(clienttesting.WatchAction).GetWatchRestrictions().ResourceVersion; version != "0" {
			expired := watch.NewFakeWithChanSize(1, false)
			status := apierrors.NewResourceExpired("too old resource version: " + version).Status()
			expired.Error(&status)
			return true, expired, nil
		}
		return false, nil, nil
	})
	w := anchorWatch(client, clock.RealClock{})
	seen := make(chan string, 10)
	w.changed = func(anchor *corev1.ConfigMap) error {
		seen <- anchor.Data["change"]
		return nil
	}
	w.failed = func(err error) { t.Errorf("the watch fails: %v", err) }
	go w.run(t.Context())
	<-seen
	anchor := getAnchor(t, client).DeepCopy()
	anchor.Data = map[string]string{"change": "seen"}
	if _, err := client.CoreV1().ConfigMaps(anchor.Namespace).Update(t.Context(), anchor, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for <-seen != "seen" { // The watch may send the cached object again.
		continue
	}
}

// TestWatchSkipsOldState checks that a cached object, which the watch sends first, does not replace the one of the get.
func TestWatchSkipsOldState(t *testing.T) {
	t.Parallel()
	at := func(version string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: shop().Namespace, Name: shop().Anchor(), ResourceVersion: version}}
	}
	client, watching := fake.NewClientset(), watch.NewFake()
	client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, at("7"), nil })
	client.PrependWatchReactor("configmaps", func(clienttesting.Action) (bool, watch.Interface, error) { return true, watching, nil })
	w := anchorWatch(client, clock.RealClock{})
	seen := make(chan string, 10)
	w.changed = func(anchor *corev1.ConfigMap) error {
		if anchor == nil {
			seen <- "gone"
			return nil
		}
		seen <- anchor.ResourceVersion
		return nil
	}
	go w.run(t.Context())
	got := []string{<-seen}
	watching.Add(at("5"))
	watching.Delete(at("6"))
	watching.Add(at("7"))
	watching.Modify(at("10"))
	watching.Delete(at("11"))
	for len(got) < 3 {
		got = append(got, <-seen)
	}
	if got[0] != "7" || got[1] != "10" || got[2] != "gone" {
		t.Errorf("the watch shows %q", got)
	}
}

// TestWatchBacksOff checks that a host that refuses watches is asked ever more seldom, although it answers gets.
func TestWatchBacksOff(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	client.PrependWatchReactor("configmaps", func(clienttesting.Action) (bool, watch.Interface, error) {
		ended := watch.NewFakeWithChanSize(1, false)
		ended.Error(&metav1.Status{Reason: metav1.StatusReasonTooManyRequests, Code: 429})
		return true, ended, nil
	})
	fakeClock := clocktesting.NewFakeClock(time.Now())
	w := anchorWatch(client, fakeClock)
	failures := make(chan error)
	w.failed = func(err error) {
		if err != nil {
			failures <- err
		}
	}
	go w.run(t.Context())
	var waited time.Duration
	for range 20 {
		if err := <-failures; !apierrors.IsTooManyRequests(errors.Unwrap(err)) {
			t.Fatal(err)
		}
		eventually(t, "it waits", fakeClock.HasWaiters)
		for fakeClock.HasWaiters() {
			fakeClock.Step(firstRetry / 2)
			waited += firstRetry / 2
		}
	}
	if waited < time.Minute {
		t.Errorf("20 tries in %s", waited)
	}
}
