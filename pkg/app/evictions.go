package app

import (
	"context"
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// MayEvict implements admission.HostView. It asks the host for an eviction that changes
// nothing. The syncer deletes the copy once the virtual pod is being deleted.
func (v hostView) MayEvict(ctx context.Context, pod types.NamespacedName) error {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	key := translate.Hashed(v.cluster, pod)
	// The fence of the release sees a dry run by the parameter alone.
	err := v.host.CoreV1().RESTClient().Post().Namespace(key.Namespace).Resource("pods").Name(key.Name).SubResource("eviction").
		VersionedParams(&metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}, scheme.ParameterCodec).
		Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}).
		Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot evict host pod %s: %w", key, err)
	}
	return nil
}
