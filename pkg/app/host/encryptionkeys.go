package host

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
)

// EncryptionKeys reads the keys for encryption at rest from host Secrets.
type EncryptionKeys struct {
	// Client reaches the host.
	Client kubernetes.Interface
	// Release is the release that the process serves.
	Release release.Release
	// NewKeys returns the text of a new key.
	NewKeys func() []byte
	// MayWrite returns an error if this replica must not write to the host.
	MayWrite func() error
	// Clock is the time.
	Clock clock.Clock

	mu sync.Mutex
	// last is the text of the release's own Secret when it was last loaded or seen, nil before.
	last []byte
}

// Load returns the key text in a Secret, nil if the Secret does not exist. If create is true and
// it is the release's own Secret, Load creates it. The created Secret has no owner, because the
// store or a backup may outlive the release and would be lost without the keys.
//
// Load retries until the host responds, because there is no other copy of the keys.
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

// attempt reads the Secret once, and creates it if needed.
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
			ObjectMeta: keptMeta(name),
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
		text = []byte{} // nil would mean that the Secret does not exist.
	}
	if name == k.Release.Encryption() {
		k.Observe(current)
	}
	return text, nil
}

// Observe records the keys in the release's own Secret. Another replica may write with one of them that this replica
// has not loaded.
func (k *EncryptionKeys) Observe(current *corev1.Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if text := current.Data[release.EncryptionKeysKey]; len(text) > 0 {
		k.last = text
	}
}

// Want implements [WantSecret]. A Secret that was deleted comes back with its last keys, as nobody else has them.
func (k *EncryptionKeys) Want(_ context.Context, current *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	if current != nil {
		k.Observe(current)
		return nil, 0, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		return nil, 0, nil
	}
	return &corev1.Secret{ObjectMeta: keptMeta(k.Release.Encryption()), Data: map[string][]byte{release.EncryptionKeysKey: k.last}}, 0, nil
}

// keptMeta returns the metadata of an object that outlives the release. It lacks the label of an instance. By that
// label Argo CD takes an object without an owner for a part of its Application, and prunes it.
func keptMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"app.kubernetes.io/name": "sublet"},
		Annotations: map[string]string{
			"argocd.argoproj.io/sync-options": "Prune=false", "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
		},
	}
}
