package app

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane"
)

// minter creates the service account tokens of pods. It signs them in process if it can, and
// otherwise requests them from the virtual API server like a kubelet.
type minter struct {
	plane   *controlplane.ControlPlane
	virtual kubernetes.Interface
}

// Mint implements kinds.TokenMinter.
func (m minter) Mint(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	if token, ok := m.plane.PodToken(ctx, namespace, name, request); ok {
		return token, nil
	}
	token, err := m.virtual.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot create a token for service account %s/%s: %w", namespace, name, err)
	}
	return token, nil
}
