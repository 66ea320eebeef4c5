package controlplane

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"
	api "k8s.io/kubernetes/pkg/apis/core"
	"pgregory.net/rapid"
)

// timedObject is what the store sends in a watch.
type timedObject struct{ runtime.Object }

func (o timedObject) RecordTime() time.Time  { return time.Time{} }
func (o timedObject) Unwrap() runtime.Object { return o.Object }

// storedPod returns a pod as the store decodes it, without any memory of another one.
func storedPod() *api.Pod {
	grace, created := int64(30), metav1.NewTime(time.Unix(1000, 0))
	return &api.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", UID: "1", CreationTimestamp: created, Labels: map[string]string{"app": "web"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: &created, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}},
		},
		Spec: api.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []api.Container{
				{Name: "web", Resources: api.ResourceRequirements{Requests: api.ResourceList{api.ResourceCPU: resource.MustParse("100m")}}},
				{Name: "log", Args: []string{"--follow"}},
			},
			Volumes: []api.Volume{{Name: "data", VolumeSource: api.VolumeSource{EmptyDir: &api.EmptyDirVolumeSource{}}}},
		},
		Status: api.PodStatus{Phase: api.PodPending, StartTime: &created},
	}
}

func TestVersionsShareWhatIsEqual(t *testing.T) {
	t.Parallel()
	first, second := storedPod(), storedPod()
	second.Spec.NodeName, second.Status.Phase = "node-1", api.PodRunning
	second.Spec.Containers[1].Args[0] = "--quiet"
	versions := newLastVersions()
	versions.share(watch.Event{Type: watch.Added, Object: timedObject{first}})
	versions.share(watch.Event{Type: watch.Modified, Object: timedObject{second}})

	for _, part := range []struct {
		name   string
		shared bool
		want   bool
	}{
		{"volumes", &first.Spec.Volumes[0] == &second.Spec.Volumes[0], true},
		{"managed fields", &first.ManagedFields[0] == &second.ManagedFields[0], true},
		{"grace period", first.Spec.TerminationGracePeriodSeconds == second.Spec.TerminationGracePeriodSeconds, true},
		{"start time", first.Status.StartTime == second.Status.StartTime, true},
		{"containers, one of which differs", &first.Spec.Containers[0] == &second.Spec.Containers[0], false},
		{"arguments that differ", &first.Spec.Containers[1].Args[0] == &second.Spec.Containers[1].Args[0], false},
	} {
		if part.shared != part.want {
			t.Errorf("%s: shared is %t, want %t", part.name, part.shared, part.want)
		}
	}
}

// TestVersionsShareFields plays a life of a pod to the store and the cache, which asks for the fields of each version.
func TestVersionsShareFields(t *testing.T) {
	t.Parallel()
	versions := newLastVersions()
	asked := versions.attributes(func(object runtime.Object) (labels.Set, fields.Set, error) {
		pod := object.(*api.Pod)
		return pod.Labels, fields.Set{"spec.nodeName": pod.Spec.NodeName}, nil
	})
	var last fields.Set
	for _, step := range []struct {
		reason string
		event  watch.EventType
		node   string
		shares bool
	}{
		{"The first version has nothing to share.", watch.Added, "", false},
		{"A field differs.", watch.Modified, "node-1", false},
		{"No field differs.", watch.Modified, "node-1", true},
		{"The last version shares too.", watch.Deleted, "node-1", true},
		{"The store has forgotten the pod by then.", "", "node-1", false},
	} {
		pod := storedPod()
		pod.Spec.NodeName = step.node
		if step.event != "" {
			versions.share(watch.Event{Type: step.event, Object: timedObject{pod}})
		}
		_, set, err := asked(pod)
		if err != nil || set["spec.nodeName"] != step.node {
			t.Fatalf("%s Got %v, %v", step.reason, set, err)
		}
		if shares := reflect.ValueOf(set).Pointer() == reflect.ValueOf(last).Pointer(); shares != step.shares {
			t.Errorf("%s shared: %t", step.reason, shares)
		}
		last = set
	}
	if len(versions.byUID) != 0 {
		t.Errorf("a deleted object is still held: %v", versions.byUID)
	}
}

// TestStoppedWatchEnds stops a watch while an event waits for its reader, who has gone, as a reflector does
// after an error. Nothing may stay behind, such as the last versions of all objects.
func TestStoppedWatchEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // It fails if a goroutine stays.
		inner := watch.NewFake()
		shared, err := sharingStore{watchedStore{inner: inner}, newLastVersions()}.Watch(t.Context(), "/pods", apistorage.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		inner.Add(storedPod())
		synctest.Wait()
		shared.Stop()
		shared.Stop()
	})
}

// watchedStore is a store with a given watch.
type watchedStore struct {
	apistorage.Interface
	inner watch.Interface
}

func (s watchedStore) Watch(context.Context, string, apistorage.ListOptions) (watch.Interface, error) {
	return s.inner, nil
}

// TestSharingChangesNoVersion draws two versions of a pod and lets them share memory. Neither may
// look otherwise afterwards.
func TestSharingChangesNoVersion(t *testing.T) {
	t.Parallel()
	changes := []func(*api.Pod){
		func(p *api.Pod) { p.Labels["tier"] = "front" },
		func(p *api.Pod) { p.Labels = nil },
		func(p *api.Pod) { p.DeletionTimestamp = new(metav1.NewTime(time.Unix(2000, 0))) },
		func(p *api.Pod) { p.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1(`{"f:status":{}}`) },
		func(p *api.Pod) {
			p.ManagedFields = append(p.ManagedFields, metav1.ManagedFieldsEntry{Manager: "kubelet"})
		},
		func(p *api.Pod) { p.Spec.NodeName = "node-1" },
		func(p *api.Pod) { p.Spec.Containers[0].Image = "web:2" },
		func(p *api.Pod) { p.Spec.Containers[0].Resources.Requests[api.ResourceCPU] = resource.MustParse("1") },
		func(p *api.Pod) { p.Spec.Containers = p.Spec.Containers[:1] },
		func(p *api.Pod) { p.Spec.Volumes = []api.Volume{} },
		func(p *api.Pod) { *p.Spec.TerminationGracePeriodSeconds = 5 },
		func(p *api.Pod) { p.Status.Phase = api.PodRunning },
		func(p *api.Pod) { p.Status.StartTime = nil },
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *api.Pod {
			pod := storedPod()
			for i, change := range changes {
				if rapid.Bool().Draw(t, fmt.Sprintf("%s %d", name, i)) {
					change(pod)
				}
			}
			return pod
		}
		before, after := draw("before"), draw("after")
		wantBefore, wantAfter := before.DeepCopy(), after.DeepCopy()
		versions := newLastVersions()
		versions.share(watch.Event{Type: watch.Added, Object: before})
		versions.share(watch.Event{Type: watch.Modified, Object: after})
		if diff := cmp.Diff(wantBefore, before); diff != "" {
			t.Errorf("the earlier version has changed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(wantAfter, after); diff != "" {
			t.Errorf("the later version has changed (-want +got):\n%s", diff)
		}
	})
}

// BenchmarkShare measures what the store adds to each event of a watch.
func BenchmarkShare(b *testing.B) {
	versions := []*api.Pod{storedPod(), storedPod()}
	versions[1].Status.Phase = api.PodRunning
	last := newLastVersions()
	for i := range b.N {
		last.share(watch.Event{Type: watch.Modified, Object: versions[i%2]})
	}
}
