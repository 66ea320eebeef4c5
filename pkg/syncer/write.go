package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// hostPatch is one request of those that turn a host object into another.
type hostPatch struct {
	subresource string
	data        []byte
}

// patchStep is one of the addresses that take a part of an object: part is what
// from becomes there on its way to to, nil if it becomes to.
type patchStep struct {
	subresource string
	part        func(from, to client.Object) client.Object
}

// hostPatches are the requests that turn before into after: none if nothing
// changed. The API server takes the containers' resources and the ephemeral
// containers of a pod at addresses of their own. Each patch names the UID of
// before, so that it never meets an object that has taken its place.
func hostPatches(before, after client.Object) ([]hostPatch, error) {
	if equalBesidesStatus(before, after) {
		return nil, nil // The status of a host object is the host's own.
	}
	steps := []patchStep{{}}
	if _, isPod := before.(*corev1.Pod); isPod {
		steps = []patchStep{{"ephemeralcontainers", copyEphemeralContainers}, {"resize", copyResources}, {}}
	}
	var patches []hostPatch
	for _, step := range steps {
		to := after
		if step.part != nil {
			to = step.part(before, after)
		}
		if equalValues(before, to) {
			continue
		}
		data, err := mergePatch(before, to)
		if err != nil {
			return nil, fmt.Errorf("cannot tell the difference of %s: %w", client.ObjectKeyFromObject(before), err)
		}
		patches = append(patches, hostPatch{step.subresource, data})
		before = to
	}
	return patches, nil
}

// withEphemeral is from with the ephemeral containers of to.
func copyEphemeralContainers(from, to client.Object) client.Object {
	pod := *from.(*corev1.Pod)
	pod.Spec.EphemeralContainers = to.(*corev1.Pod).Spec.EphemeralContainers
	return &pod
}

// withResources is from with the resources that to asks for its containers.
func copyResources(from, to client.Object) client.Object {
	pod, wanted := *from.(*corev1.Pod), to.(*corev1.Pod)
	pod.Spec.Containers = resizeContainers(pod.Spec.Containers, wanted.Spec.Containers)
	pod.Spec.InitContainers = resizeContainers(pod.Spec.InitContainers, wanted.Spec.InitContainers)
	pod.Spec.Resources = wanted.Spec.Resources
	return &pod
}

// resized is a copy of containers with the resources of wanted.
func resizeContainers(containers, wanted []corev1.Container) []corev1.Container {
	if len(containers) != len(wanted) {
		return containers
	}
	result := make([]corev1.Container, len(containers))
	for i, c := range containers {
		c.Resources, c.ResizePolicy = wanted[i].Resources, wanted[i].ResizePolicy
		result[i] = c
	}
	return result
}

// difference is the merge patch from before to after, bound to the UID of before.
func mergePatch(before, after client.Object) ([]byte, error) {
	data, err := client.MergeFrom(before).Data(after)
	if err != nil {
		return nil, err
	}
	patch := map[string]any{}
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	metadata, ok := patch["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		patch["metadata"] = metadata
	}
	metadata["uid"] = string(before.GetUID())
	return json.Marshal(patch)
}

// patchHost sends the difference between two states of a host object and
// returns the object as the host has it then, nil if nothing was sent.
func patchHost(ctx context.Context, c client.Client, before, after client.Object, dryRun bool) (client.Object, error) {
	patches, err := hostPatches(before, after)
	if err != nil || len(patches) == 0 {
		return nil, err
	}
	object := newEmpty(before)
	for _, p := range patches {
		raw := client.RawPatch(types.MergePatchType, p.data)
		if p.subresource == "" {
			err = c.Patch(ctx, object, raw, patchOptions(dryRun))
		} else {
			err = c.SubResource(p.subresource).Patch(ctx, object, raw, &client.SubResourcePatchOptions{PatchOptions: *patchOptions(dryRun)})
		}
		if err != nil {
			return nil, err
		}
	}
	return object, nil
}

// patchOptions are those of a patch that counts, or of one that does not.
func patchOptions(dryRun bool) *client.PatchOptions {
	if dryRun {
		return &client.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	}
	return &client.PatchOptions{}
}

// writeVirtual sends the difference between two states of a virtual object in
// the requests that take it and returns the object as the virtual API server has
// it then, nil if nothing was sent.
func writeVirtual(ctx context.Context, c client.Client, before, after client.Object) (client.Object, error) {
	status := !equalValues(statusOf(before), statusOf(after))
	rest := !equalBesidesStatus(before, after)
	if !status && !rest {
		return nil, nil
	}
	written := after.DeepCopyObject().(client.Object)
	if rest {
		if err := c.Update(ctx, written); err != nil {
			return nil, err
		}
	}
	if status {
		copyStatus(written, after)
		if err := c.Status().Update(ctx, written); err != nil {
			return nil, err
		}
	}
	return written, nil
}

// bind binds a virtual pod to the node that it has got, which is the only way to
// name the node of a pod that exists.
func bindPod(ctx context.Context, c client.Client, before, after client.Object) (bool, error) {
	from, isPod := before.(*corev1.Pod)
	to, _ := after.(*corev1.Pod)
	if !isPod || from.Spec.NodeName != "" || to.Spec.NodeName == "" {
		return false, nil
	}
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: from.Namespace, Name: from.Name, UID: from.UID,
			Annotations: map[string]string{labels.Bound: string(from.UID)},
		},
		Target: corev1.ObjectReference{Kind: "Node", Name: to.Spec.NodeName},
	}
	if err := c.SubResource("binding").Create(ctx, from.DeepCopy(), binding); err != nil {
		return false, fmt.Errorf("cannot bind virtual pod %s to node %s: %w", client.ObjectKeyFromObject(from), to.Spec.NodeName, err)
	}
	return true, nil
}

// createVirtual creates a virtual object together with its status.
func createVirtual(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
	created := object.DeepCopyObject().(client.Object)
	if err := c.Create(ctx, created); err != nil {
		return nil, err
	}
	if equalValues(statusOf(created), statusOf(object)) {
		return created, nil
	}
	copyStatus(created, object)
	if err := c.Status().Update(ctx, created); err != nil {
		return nil, err
	}
	return created, nil
}

// emptied is an empty object of the type and the name of object.
func newEmpty(object client.Object) client.Object {
	var empty client.Object
	if u, ok := object.(*unstructured.Unstructured); ok {
		fresh := &unstructured.Unstructured{}
		fresh.SetGroupVersionKind(u.GroupVersionKind())
		empty = fresh
	} else {
		empty = reflect.New(reflect.TypeOf(object).Elem()).Interface().(client.Object)
	}
	empty.SetNamespace(object.GetNamespace())
	empty.SetName(object.GetName())
	return empty
}

// statusOf is the status of an object, nil if its type has none.
func statusOf(object client.Object) any {
	if u, ok := object.(*unstructured.Unstructured); ok {
		return u.Object["status"]
	}
	if field := reflect.ValueOf(object).Elem().FieldByName("Status"); field.IsValid() {
		return field.Interface()
	}
	return nil
}

// setStatus gives object the status of from.
func copyStatus(object, from client.Object) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		u.Object["status"] = from.(*unstructured.Unstructured).Object["status"]
		return
	}
	if field := reflect.ValueOf(object).Elem().FieldByName("Status"); field.IsValid() {
		field.Set(reflect.ValueOf(from).Elem().FieldByName("Status"))
	}
}

// same compares two values as Kubernetes does: an empty list is no list, and a
// quantity is what it means. Nearly always the two are equal to the letter, which
// takes a fraction of the time to find out.
func equalValues(a, b any) bool {
	return reflect.DeepEqual(a, b) || equality.Semantic.DeepEqual(a, b)
}

// equalBesidesStatus compares two objects of a type, except for their status.
func equalBesidesStatus(a, b client.Object) bool {
	if u, ok := a.(*unstructured.Unstructured); ok {
		return equalValues(withoutStatus(u), withoutStatus(b.(*unstructured.Unstructured)))
	}
	left, right := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range left.NumField() {
		name := left.Type().Field(i).Name
		if name == "Status" || name == "TypeMeta" {
			continue
		}
		if !equalValues(left.Field(i).Interface(), right.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// withoutStatus is a shallow copy of an object that lacks the status.
func withoutStatus(u *unstructured.Unstructured) map[string]any {
	rest := make(map[string]any, len(u.Object))
	for key, value := range u.Object {
		if key != "status" {
			rest[key] = value
		}
	}
	return rest
}
