package admission

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"
)

// AddBindingChecks adds the checks of the labels and annotations of bindings. The API server merges them
// into the pod without a validation. A mirror pod, or one that is invalid, keeps the status that the tenant
// has written.
func AddBindingChecks(checks Checks, client func() (kubernetes.Interface, error)) {
	c := bindingCheck{client}
	checks.Add(corev1.Resource("bindings"), c.check)
	checks.Add(corev1.Resource("pods"), func(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		if a.GetSubresource() != "binding" {
			return Decision{}, nil
		}
		return c.check(ctx, a, o)
	})
}

// bindingCheck evaluates the metadata of bindings.
type bindingCheck struct {
	// client returns a client of the virtual cluster.
	client func() (kubernetes.Interface, error)
}

// check denies metadata that an update of the pod may not write. It asks the API server with a dry run, so
// all validations and policies of pods apply. Bindings of the syncer are exempt, and few others have
// metadata.
func (c bindingCheck) check(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create {
		return Decision{}, nil
	}
	binding, err := toV1[corev1.Binding](a.GetObject(), o)
	if err != nil || len(binding.Labels)+len(binding.Annotations) == 0 {
		return Decision{}, err
	}
	type metadata struct {
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	patch, err := json.Marshal(map[string]metadata{"metadata": {Labels: binding.Labels, Annotations: binding.Annotations}})
	if err != nil {
		return Decision{}, apierrors.NewInternalError(fmt.Errorf("cannot encode the metadata of a binding: %w", err))
	}
	client, err := c.client()
	if err != nil {
		return Decision{}, unknownHost(a, err)
	}
	_, err = client.CoreV1().Pods(a.GetNamespace()).Patch(ctx, binding.Name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsNotFound(err) {
		return Decision{}, nil // The API server answers that.
	}
	return Decision{}, err
}
