package controlplane

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// PodCertifier requests the certificates of pods from the virtual API server, as a kubelet
// does.
type PodCertifier struct{ virtual kubernetes.Interface }

// NewPodCertifier returns a PodCertifier that uses a client of the virtual API server.
func NewPodCertifier(virtual kubernetes.Interface) PodCertifier { return PodCertifier{virtual} }

// NewKey implements kinds.PodCertificateRequester.
func (PodCertifier) NewKey(keyType string) (name string, key []byte, err error) {
	private, err := newPodKey(keyType)
	if err != nil {
		return "", nil, fmt.Errorf("cannot create a key of type %s: %w", keyType, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", nil, fmt.Errorf("cannot encode a key of type %s: %w", keyType, err)
	}
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return "req-" + strings.ToLower(rand.Text()), key, nil
}

// newPodKey creates a key of one of the types that a pod may ask for.
func newPodKey(keyType string) (crypto.PrivateKey, error) {
	switch keyType {
	case "RSA3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown key type %q", keyType)
}

// Request implements kinds.PodCertificateRequester.
func (p PodCertifier) Request(ctx context.Context, request *certificatesv1.PodCertificateRequest) error {
	account, err := p.virtual.CoreV1().ServiceAccounts(request.Namespace).Get(ctx, request.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot get service account %s/%s: %w", request.Namespace, request.Spec.ServiceAccountName, err)
	}
	node, err := p.virtual.CoreV1().Nodes().Get(ctx, string(request.Spec.NodeName), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot get node %s: %w", request.Spec.NodeName, err)
	}
	request = request.DeepCopy()
	request.Spec.ServiceAccountUID, request.Spec.NodeUID = account.UID, node.UID
	_, err = p.virtual.CertificatesV1().PodCertificateRequests(request.Namespace).Create(ctx, request, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create PodCertificateRequest %s/%s: %w", request.Namespace, request.Name, err)
	}
	return nil
}
