package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// writeDown writes what the virtual object specifies into the host object.
func (r *reconciler) writeDown(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	after, err := r.buildHost(s, key, virtual, deepCopy(host))
	if err != nil {
		return err
	}
	undo, err := r.reserve(after, false)
	if err != nil {
		return fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), asHostRefusal(err))
	}
	written, err := patchHost(s.Context, r.host.client, host, after, false)
	if err != nil {
		undo()
	}
	r.recordWritten(Host, key, written)
	if apierrors.IsNotFound(err) {
		return nil // It is deleted, as the watch will show.
	}
	if err != nil {
		return fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), asHostRefusal(err))
	}
	if written == nil && r.kind.metadataOnly {
		r.compared.record(key, virtual, host)
	}
	return nil
}

// hostPatch is one request of those that turn a host object into another.
type hostPatch struct {
	subresource string
	fields      map[string]any // a merge patch
	strategic   bool           // whether it is a strategic merge patch, which merges lists by their keys
}

// patchStep is one of the addresses that take a part of an object. part returns what
// from becomes there on its way to to; nil means to itself.
type patchStep struct {
	subresource string
	part        func(from, to client.Object) client.Object
}

// patchSteps returns the addresses that take an object, in order. The API server takes
// the ephemeral containers of a pod and its containers' resources at their own ones. The
// object itself comes last: its annotation [labels.LastApplied] records that the host has
// taken all the rest.
func patchSteps(object client.Object) []patchStep {
	if _, isPod := object.(*corev1.Pod); isPod {
		return []patchStep{{"ephemeralcontainers", copyEphemeralContainers}, {"resize", copyResources}, {}}
	}
	return []patchStep{{}}
}

// hostPatches returns the requests that turn before into after, none if nothing changed.
func hostPatches(before, after client.Object) ([]hostPatch, error) {
	patches, err := hostSpecPatches(before, after)
	if err != nil {
		return nil, err
	}
	if fields := conditionsPatch(before, after); fields != nil {
		patches = append(patches, hostPatch{subresource: "status", fields: fields, strategic: true})
	}
	return patches, nil
}

// conditionsPatch returns the strategic merge patch of our conditions of a host pod, nil if none
// has changed. These are its readiness gate, and PodScheduled where no scheduler of the host
// looks at the pod. All else of a host object's status is the host's own.
func conditionsPatch(before, after client.Object) map[string]any {
	have, isPod := before.(*corev1.Pod)
	want, _ := after.(*corev1.Pod)
	if !isPod {
		return nil
	}
	changed := slices.DeleteFunc(slices.Clone(want.Status.Conditions), func(c corev1.PodCondition) bool {
		ours := c.Type == labels.ReadinessGates || c.Type == corev1.PodScheduled
		return !ours || slices.ContainsFunc(have.Status.Conditions, func(old corev1.PodCondition) bool {
			return old.Type == c.Type && old.Status == c.Status && old.Reason == c.Reason
		})
	})
	if len(changed) == 0 {
		return nil
	}
	fields := map[string]any{"status": map[string]any{"conditions": changed}}
	metadataOf(fields)["uid"] = string(before.GetUID())
	return fields
}

// hostSpecPatches returns the requests for all but the status.
func hostSpecPatches(before, after client.Object) ([]hostPatch, error) {
	if equalBesidesStatus(before, after) {
		return nil, nil
	}
	after = deepCopy(after)
	copyStatus(after, before)
	var patches []hostPatch
	for _, step := range patchSteps(before) {
		to := after
		if step.part != nil {
			to = step.part(before, after)
		}
		if equalValues(before, to) {
			continue
		}
		fields, err := mergePatch(before, to)
		if err != nil {
			return nil, fmt.Errorf("cannot compute patch for %s: %w", client.ObjectKeyFromObject(before), err)
		}
		patches = append(patches, hostPatch{subresource: step.subresource, fields: fields})
		before = to
	}
	return patches, nil
}

// copyEphemeralContainers returns from with the ephemeral containers of to.
func copyEphemeralContainers(from, to client.Object) client.Object {
	pod := *from.(*corev1.Pod)
	pod.Spec.EphemeralContainers = to.(*corev1.Pod).Spec.EphemeralContainers
	return &pod
}

// copyResources returns from with the resources that to requests for its containers.
func copyResources(from, to client.Object) client.Object {
	pod, wanted := *from.(*corev1.Pod), to.(*corev1.Pod)
	pod.Spec.Containers = resizeContainers(pod.Spec.Containers, wanted.Spec.Containers)
	pod.Spec.InitContainers = resizeContainers(pod.Spec.InitContainers, wanted.Spec.InitContainers)
	pod.Spec.Resources = wanted.Spec.Resources
	return &pod
}

// resizeContainers returns a copy of containers with the resources of wanted.
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

// mergePatch returns the merge patch from before to after. It names the UID of before,
// so that it never changes an object that has taken its place.
func mergePatch(before, after client.Object) (map[string]any, error) {
	from, err := toMap(before)
	if err != nil {
		return nil, err
	}
	to, err := toMap(after)
	if err != nil {
		return nil, err
	}
	fields := diffObjects(from, to)
	metadataOf(fields)["uid"] = string(before.GetUID())
	return fields, nil
}

// diffObjects returns the merge patch from before to after. The library of merge patches reads
// numbers as floats, so that large ones would change.
func diffObjects(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for key := range before {
		if _, ok := after[key]; !ok {
			patch[key] = nil
		}
	}
	for key, value := range after {
		old, ok := before[key]
		if ok && reflect.DeepEqual(old, value) {
			continue
		}
		from, wasObject := old.(map[string]any)
		to, isObject := value.(map[string]any)
		if wasObject && isObject {
			value = diffObjects(from, to)
		}
		patch[key] = value
	}
	return patch
}

// metadataOf returns the metadata of a merge patch, which it adds if there is none.
func metadataOf(fields map[string]any) map[string]any {
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		fields["metadata"] = metadata
	}
	return metadata
}

// withResourceVersion lets a merge patch fail on any other version of its object.
func withResourceVersion(fields map[string]any, version string) {
	metadataOf(fields)["resourceVersion"] = version
}

// hasList reports whether a merge patch contains a list. Such a patch replaces the list
// as a whole, together with what others wrote there since it was read.
func hasList(value any) bool {
	switch v := value.(type) {
	case []any:
		return true
	case map[string]any:
		for _, field := range v {
			if hasList(field) {
				return true
			}
		}
	}
	return false
}

// patchHost sends the difference between two states of a host object. It returns the
// object as the host has it then, nil if nothing was sent. A patch with a list fails with
// a conflict if the object has changed since it was read.
//
// A part that the host has no address for fails alone, with a [subresourceError]. The
// object itself is patched all the same, without the record that the host has taken all.
func patchHost(ctx context.Context, c client.Client, before, after client.Object, dryRun bool) (client.Object, error) {
	patches, err := hostPatches(before, after)
	if err != nil || len(patches) == 0 {
		return nil, err
	}
	var written client.Object
	var missing error
	version := before.GetResourceVersion()
	for _, p := range patches {
		if missing != nil {
			dropRecord(p.fields)
		}
		if hasList(p.fields) {
			withResourceVersion(p.fields, version)
		}
		object, err := sendPatch(ctx, c, before, p, dryRun)
		if err != nil {
			err = findMissingSubresource(ctx, c, before, p.subresource, err)
			if _, unknown := errors.AsType[*subresourceError](err); !unknown {
				return written, errors.Join(missing, err)
			}
			missing = errors.Join(missing, err)
			continue
		}
		written = object
		if !dryRun {
			version = object.GetResourceVersion()
		}
	}
	return written, missing
}

// sendPatch sends one patch and returns the object that the host answers with.
func sendPatch(ctx context.Context, c client.Client, before client.Object, p hostPatch, dryRun bool) (client.Object, error) {
	data, err := json.Marshal(p.fields)
	if err != nil {
		return nil, err
	}
	object, raw := newEmpty(before), client.RawPatch(types.MergePatchType, data)
	if p.strategic {
		raw = client.RawPatch(types.StrategicMergePatchType, data)
	}
	if p.subresource == "" {
		return object, c.Patch(ctx, object, raw, patchOptions(dryRun))
	}
	return object, c.SubResource(p.subresource).Patch(ctx, object, raw, &client.SubResourcePatchOptions{PatchOptions: *patchOptions(dryRun)})
}

// findMissingSubresource returns a [subresourceError] instead of err if err is a NotFound
// of the subresource: the object itself exists.
func findMissingSubresource(ctx context.Context, c client.Client, before client.Object, subresource string, err error) error {
	if subresource == "" || !apierrors.IsNotFound(err) {
		return err
	}
	key := client.ObjectKeyFromObject(before)
	found, liveErr := getLive(ctx, c, before, key)
	if liveErr != nil {
		return fmt.Errorf("cannot get host object %s: %w", key, liveErr)
	}
	if found == nil || found.GetUID() != before.GetUID() {
		return err
	}
	return &subresourceError{Host, key, subresource}
}

// dropRecord takes the record of what the host has taken out of a merge patch.
func dropRecord(fields map[string]any) {
	if annotations, ok := metadataOf(fields)["annotations"].(map[string]any); ok {
		delete(annotations, labels.LastApplied)
	}
}

// patchOptions returns the options of a patch. With dryRun the host keeps nothing.
func patchOptions(dryRun bool) *client.PatchOptions {
	if dryRun {
		return &client.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	}
	return &client.PatchOptions{}
}
