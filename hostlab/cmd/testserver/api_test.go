package main

import (
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// TestGauges uses the API as clients of Kubernetes do.
func TestGauges(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newGauges().handler())
	t.Cleanup(server.Close)
	client, err := dynamic.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	gauges := client.Resource(schema.GroupVersionResource{Group: gaugeGroup, Version: "v1", Resource: "gauges"}).Namespace("a")
	ctx := t.Context()
	gauge := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gaugeGroup + "/v1", "kind": "Gauge", "metadata": map[string]any{"name": "one"}, "spec": map[string]any{"size": int64(1)},
	}}
	if _, err := gauges.Create(ctx, gauge, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := gauges.Create(ctx, gauge, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a second creation: %v", err)
	}
	list, err := gauges.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	watch, err := gauges.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Stop)
	both := []byte(`{"spec":{"size":2},"status":{"phase":"Ready"}}`)
	if _, err := gauges.Patch(ctx, "one", types.MergePatchType, both, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if _, err := gauges.Patch(ctx, "one", types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1"}}`), metav1.PatchOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a patch of an old version: %v", err)
	}
	event := <-watch.ResultChan()
	patched, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type != "MODIFIED" {
		t.Fatalf("got %v", event)
	}
	size, _, _ := unstructured.NestedInt64(patched.Object, "spec", "size")
	if phase, _, _ := unstructured.NestedString(patched.Object, "status", "phase"); size != 1 || phase != "Ready" {
		t.Errorf("got %v", patched.Object)
	}
	if err := gauges.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := gauges.Get(ctx, "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the deletion: %v", err)
	}
	if event := <-watch.ResultChan(); event.Type != "DELETED" {
		t.Errorf("got %v", event)
	}
	for path, want := range map[string]int{gaugeRoot: 200, "/openapi/v3": 200, "/openapi/v3" + gaugeRoot: 200, "/apis": 404} {
		if got, _ := getPath(t, newGauges().handler(), path); got != want {
			t.Errorf("%s: got %d, want %d", path, got, want)
		}
	}
}
