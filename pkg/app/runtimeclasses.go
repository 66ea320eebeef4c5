package app

import (
	"context"
	"fmt"
	"sync"

	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// ownClasses returns a function that gets those of the tenant's own runtime classes that the
// operator allows. It returns nil if the operator allows none. The function reads live, because
// a class is often created just before its first pod.
func (a *openApp) ownClasses() func(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
	handlers := a.values.Policies.Pods.RuntimeHandlers
	if len(handlers) == 0 {
		return nil
	}
	virtual := sync.OnceValues(func() (kubernetes.Interface, error) { return a.api.client(syncerUser) })
	return func(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
		client, err := virtual()
		if err != nil {
			return nil, err
		}
		class, err := client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil //nolint:nilnil // There is none of that name.
		case err != nil:
			return nil, fmt.Errorf("cannot get runtime class %s: %w", name, err)
		}
		_, allowed := policy.OwnClass(handlers, class)
		return allowed, nil
	}
}
