package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
		return r.narrowUnbuilt(s, key, host, after, err)
	}
	written, change, isDue, err := r.sendDown(s, key, host, after)
	if !isDue {
		return err
	}
	r.recordWritten(Host, key, written)
	if err == nil && written != nil && r.contests.record(key, change) {
		r.log.Info("Changes of a copy are undone on the host", "kind", r.kind.name, "key", key, "host", client.ObjectKeyFromObject(host))
	}
	if err != nil {
		return r.handleFailedPatch(s, key, host, after, err)
	}
	if written == nil && (r.kind.metadataOnly || r.kind.compared) {
		r.compared.record(key, virtual, host)
	}
	return nil
}

// sendDown sends the requests that turn host into after, if they are due. It returns what to record after them. The limits of
// copies come first: to compare what is too large may take more memory than there is.
func (r *reconciler) sendDown(s Scope, key types.NamespacedName, host, after client.Object) (written client.Object, change uint64, isDue bool, err error) {
	undo, err := r.reserve(after, writeOptions{})
	if err != nil {
		return nil, 0, true, err
	}
	patches, err := hostPatches(host, after)
	if err == nil {
		change, isDue, err = r.checkContest(s, key, host, patches)
	}
	if err != nil || !isDue {
		undo()
		return nil, 0, false, err
	}
	if written, err = sendPatches(s.Context, r.host.client, host, patches, writeOptions{}); err != nil {
		undo()
	}
	return written, change, true, err
}

// checkContest reports whether requests to the host are due. They wait if others on the host change the same
// fields back again and again. It returns what to record after the requests.
func (r *reconciler) checkContest(s Scope, key types.NamespacedName, host client.Object, patches []hostPatch) (change uint64, isDue bool, err error) {
	change, wait, err := r.contests.check(key, host, patches)
	if wait > 0 {
		s.RequeueAfter(wait)
	}
	return change, wait <= 0, err
}

// sendReserved sends the requests that turn host into after, if that is within the limits of copies.
func (r *reconciler) sendReserved(s Scope, host, after client.Object, patches []hostPatch) (client.Object, error) {
	undo, err := r.reserve(after, writeOptions{})
	if err != nil {
		return nil, err
	}
	written, err := sendPatches(s.Context, r.host.client, host, patches, writeOptions{})
	if err != nil {
		undo()
	}
	return written, err
}

// hostPatch is one of the requests that change a host object.
type hostPatch struct {
	subresource string
	fields      map[string]any // a JSON merge patch, unless strategic
	strategic   bool           // fields is a strategic merge patch, which merges lists by key
}

// patchStep is one request of an update. Each subresource accepts only some fields.
type patchStep struct {
	subresource string // empty for the object itself
	// apply returns before with the fields of after that the subresource accepts. nil means
	// all of after.
	apply func(before, after client.Object) client.Object
}

// resizeSubresource is the subresource of a pod that takes the resources of its containers.
const resizeSubresource = "resize"

// patchSteps returns the steps that update an object, in order. A pod's ephemeral containers
// and the resources of its containers can only be changed through subresources. The object
// itself comes last, because its annotation [labels.LastApplied] records that the host has
// accepted everything else.
func patchSteps(object client.Object) []patchStep {
	if _, isPod := object.(*corev1.Pod); isPod {
		return []patchStep{{"ephemeralcontainers", copyEphemeralContainers}, {resizeSubresource, copyResources}, {}}
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

// conditionsPatch returns a strategic merge patch of the conditions that Sublet owns in a host
// pod, nil if none has changed. These are its readiness gate, and PodScheduled of a pod that no
// host scheduler handles. The host owns the rest of the status of its objects.
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

// hostSpecPatches returns the requests for everything but the status.
func hostSpecPatches(before, after client.Object) ([]hostPatch, error) {
	if equalBesidesStatus(before, after) {
		return nil, nil
	}
	after = deepCopy(after)
	copyStatus(after, before)
	var patches []hostPatch
	for _, step := range patchSteps(before) {
		to := after
		if step.apply != nil {
			to = step.apply(before, after)
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

// copyEphemeralContainers returns before with the ephemeral containers of after.
func copyEphemeralContainers(before, after client.Object) client.Object {
	pod := *before.(*corev1.Pod)
	pod.Spec.EphemeralContainers = after.(*corev1.Pod).Spec.EphemeralContainers
	return &pod
}

// copyResources returns before with the resources of after and of its containers.
func copyResources(before, after client.Object) client.Object {
	pod, wanted := *before.(*corev1.Pod), after.(*corev1.Pod)
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

// patchHost sends the difference between two states of a host object, see [sendPatches].
func patchHost(ctx context.Context, c client.Client, before, after client.Object, o writeOptions) (client.Object, error) {
	patches, err := hostPatches(before, after)
	if err != nil {
		return nil, err
	}
	return sendPatches(ctx, c, before, patches, o)
}

// sendPatches sends the requests that change a host object. It returns the object as the host
// has stored it, nil if there are none. A patch with a list fails with a conflict if the object
// has changed since it was read.
//
// If the host refuses a part, or lacks its subresource, the other parts are patched all the same.
// [labels.LastApplied] then stays as it was.
func sendPatches(ctx context.Context, c client.Client, before client.Object, patches []hostPatch, o writeOptions) (client.Object, error) {
	var written client.Object
	var refusals error
	version := before.GetResourceVersion()
	for _, p := range patches {
		if refusals != nil && omitLastApplied(p.fields) {
			continue
		}
		if hasList(p.fields) {
			withResourceVersion(p.fields, version)
		}
		object, err := sendPatch(ctx, c, before, p, o)
		if err != nil {
			err = checkNotFound(ctx, c, before, p.subresource, err)
			if _, refused := errors.AsType[*hostRefusal](asHostRefusal(err)); !refused {
				return written, err // Joined with a refusal, it would be tried again as late as that.
			}
			if p.subresource == resizeSubresource {
				err = &resizeError{err}
			}
			refusals = errors.Join(refusals, err)
			continue
		}
		written = object
		if !o.dryRun {
			version = object.GetResourceVersion()
		}
	}
	return written, refusals
}

// sendPatch sends one patch and returns the object of the response.
func sendPatch(ctx context.Context, c client.Client, before client.Object, p hostPatch, o writeOptions) (client.Object, error) {
	data, err := json.Marshal(p.fields)
	if err != nil {
		return nil, err
	}
	object, raw := newEmpty(before), client.RawPatch(types.MergePatchType, data)
	if p.strategic {
		raw = client.RawPatch(types.StrategicMergePatchType, data)
	}
	if p.subresource == "" {
		return object, c.Patch(ctx, object, raw, o.forPatch())
	}
	return object, c.SubResource(p.subresource).Patch(ctx, object, raw, &client.SubResourcePatchOptions{PatchOptions: *o.forPatch()})
}

// checkNotFound looks at the object again if err is a NotFound. If the object exists, its subresource does
// not, or a webhook of the host denies the write with this status. It then returns a [subresourceError] or a
// [hostRefusal]. Otherwise it returns err.
func checkNotFound(ctx context.Context, c client.Client, before client.Object, subresource string, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	key := client.ObjectKeyFromObject(before)
	found, liveErr := getLive(ctx, c, before, key)
	switch {
	case liveErr != nil:
		return fmt.Errorf("cannot get host object %s: %w", key, liveErr)
	case found == nil || found.GetUID() != before.GetUID():
		return err
	case subresource != "":
		return &subresourceError{Host, key, subresource}
	default:
		// Nobody must take it for the end of the object. It is a denial with another status.
		return &hostRefusal{&apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: err.Error(),
		}}}
	}
}

// writeOptions are the options of a write to the host.
type writeOptions struct {
	// dryRun makes the host validate the write and store nothing.
	dryRun bool
	// awaits is the version of the virtual object that the write is ahead of, if any.
	awaits string
}

// dryRunModes returns the value of the DryRun field in the options of a request.
func (o writeOptions) dryRunModes() []string {
	if o.dryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// forPatch returns the options of a patch request.
func (o writeOptions) forPatch() *client.PatchOptions {
	return &client.PatchOptions{DryRun: o.dryRunModes()}
}
