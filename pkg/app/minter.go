package app

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// minter asks the virtual API server for the tokens of pods, as a kubelet does.
type minter struct{ virtual kubernetes.Interface }

// Mint implements kinds.TokenMinter.
func (m minter) Mint(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	token, err := m.virtual.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot get a token for service account %s/%s: %w", namespace, name, err)
	}
	return token, nil
}
