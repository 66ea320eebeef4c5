package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
)

var errNoAnchor = errors.New("the anchor has another UID")

// Members is the record of the members of the store on the anchor. It lists every pod with a
// vote, and may list pods without one.
type Members struct {
	// Generation grows each time an operator forces a list of members.
	Generation int64 `json:"generation"`
	// Pods are the names of the pods, sorted.
	Pods []string `json:"pods"`
	// Forcing is the pod that an operator has made the only member. It is reset once the pod
	// has started as such.
	Forcing string `json:"forcing,omitempty"`
}

// Has reports whether the record lists the pod.
func (m Members) Has(pod string) bool { return slices.Contains(m.Pods, pod) }

// With returns the record with one more pod.
func (m Members) With(pod string) Members {
	if m.Has(pod) {
		return m
	}
	m.Pods = slices.Sorted(slices.Values(append(slices.Clone(m.Pods), pod)))
	return m
}

// membersOf returns the record on an anchor. It is empty if there is none.
func membersOf(anchor *corev1.ConfigMap) Members {
	var members Members
	if err := json.Unmarshal([]byte(anchor.Annotations[labels.StoreMembers]), &members); err != nil {
		return Members{}
	}
	return members
}

// MemberRecord reads and writes the record of the members of the store.
type MemberRecord struct {
	Client  kubernetes.Interface
	Release release.Release
	// Anchor is the UID of the anchor that the store belongs to.
	Anchor types.UID
}

// Update changes the record. change gets the current record and must read the members of the
// store after that. If the record has changed meanwhile, the write fails and Update retries. So
// a slow writer never removes a pod that has just got a vote.
func (r *MemberRecord) Update(ctx context.Context, change func(Members) (Members, error)) (Members, error) {
	var result Members
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		anchor, err := r.get(ctx)
		if err != nil {
			return err
		}
		before := membersOf(anchor)
		if result, err = change(before); err != nil {
			return err
		}
		if result.Generation == before.Generation && result.Forcing == before.Forcing && slices.Equal(result.Pods, before.Pods) {
			return nil
		}
		return r.write(ctx, anchor, result)
	})
	return result, err
}

// get returns the anchor.
func (r *MemberRecord) get(ctx context.Context) (*corev1.ConfigMap, error) {
	anchor, err := r.Client.CoreV1().ConfigMaps(r.Release.Namespace).Get(ctx, r.Release.Anchor(), metav1.GetOptions{})
	if err == nil && anchor.UID != r.Anchor {
		err = errNoAnchor
	}
	return anchor, wrap(err, "get host ConfigMap %s", r.Release.Anchor())
}

// write writes the record. It fails if the anchor has changed.
func (r *MemberRecord) write(ctx context.Context, anchor *corev1.ConfigMap, members Members) error {
	value, err := json.Marshal(members)
	if err != nil {
		return fmt.Errorf("cannot encode the members of the store: %w", err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": anchor.UID, "resourceVersion": anchor.ResourceVersion,
		"annotations": map[string]string{labels.StoreMembers: string(value)},
	}})
	if err != nil {
		return fmt.Errorf("cannot encode the members of the store: %w", err)
	}
	_, err = r.Client.CoreV1().ConfigMaps(r.Release.Namespace).
		Patch(ctx, r.Release.Anchor(), types.MergePatchType, patch, metav1.PatchOptions{})
	return wrap(err, "patch host ConfigMap %s", r.Release.Anchor())
}
