package host

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
)

// EncryptionKeys reads the keys of the encryption at rest from Secrets of the host.
type EncryptionKeys struct {
	// Client reaches the host.
	Client kubernetes.Interface
	// Release is the release that the process serves.
	Release release.Release
	// NewKeys returns the text of a new key.
	NewKeys func() []byte
	// MayWrite returns why this replica must not write to the host.
	MayWrite func() error
	// Clock is the time.
	Clock clock.Clock
}

// Load returns the text of the keys in a Secret, and nil if there is no such Secret. With
// create, it creates the Secret of the release's own name. That one has no owner: the
// store or its backups may outlive the release, and are lost without the keys.
//
// It asks until the host responds. The keys are nowhere else.
func (k *EncryptionKeys) Load(ctx context.Context, secret string, create bool) ([]byte, error) {
	backoff, logged := newBackoff(), false
	for {
		text, err := k.attempt(ctx, secret, create)
		if err == nil || ctx.Err() != nil || !isUnreachable(err) {
			return text, err
		}
		if !logged {
			klog.InfoS("Waiting for the host, which has the keys of the store", "secret", secret, "err", err)
			logged = true
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-k.Clock.After(backoff.Step()):
		}
	}
}

// attempt asks the host once.
func (k *EncryptionKeys) attempt(ctx context.Context, name string, create bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	secrets := k.Client.CoreV1().Secrets(k.Release.Namespace)
	current, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if !create || name != k.Release.Encryption() {
			return nil, nil
		}
		if err := k.MayWrite(); err != nil {
			return nil, err
		}
		current, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: k.Release.Labels()},
			Data:       map[string][]byte{release.EncryptionKeysKey: k.NewKeys()},
		}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			current, err = secrets.Get(ctx, name, metav1.GetOptions{})
		}
	}
	if err != nil {
		return nil, wrap(err, "get host Secret %s/%s", k.Release.Namespace, name)
	}
	text := current.Data[release.EncryptionKeysKey]
	if text == nil {
		text = []byte{} // a Secret without keys is not the same as none
	}
	return text, nil
}
