package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
)

// minTokenLength is the length of the shortest token that the server accepts.
const minTokenLength = 20

// OperatorSecret is the host Secret with the bearer token of the operator's port. An operator
// rotates the token by deleting the Secret or by setting another token in it.
type OperatorSecret struct {
	// Release is the release of the virtual cluster.
	Release release.Release
	// CA is the certificate authority of the port's certificate, as PEM.
	CA []byte
	// Anchor returns the owner reference to the current anchor.
	Anchor func() metav1.OwnerReference

	mu    sync.RWMutex
	token []byte
}

// Allows reports whether token is the one in the Secret.
func (o *OperatorSecret) Allows(token string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.token) > 0 && subtle.ConstantTimeCompare(o.token, []byte(token)) == 1
}

// tokenOf returns the token of a Secret. It is empty if an earlier release with the same name had it, as
// whoever could read that Secret would be let in. A token that this process uses stays under a new anchor.
func (o *OperatorSecret) tokenOf(secret *corev1.Secret) []byte {
	token := bytes.TrimSpace(secret.Data[release.OperatorTokenKey])
	if isOfEarlierAnchor(secret, o.Release, o.Anchor().UID) && !o.Allows(string(token)) {
		return nil
	}
	return token
}

// Observe uses the token of a Secret that another replica writes.
func (o *OperatorSecret) Observe(current *corev1.Secret) {
	token := o.tokenOf(current)
	if len(token) < minTokenLength {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.token = token
}

// Want implements [WantSecret]. It keeps a token that an operator has set, and generates one if
// there is none.
func (o *OperatorSecret) Want(_ context.Context, current *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	var token []byte
	if current != nil {
		token = o.tokenOf(current)
	}
	isCurrent := len(token) >= minTokenLength && bytes.Equal(current.Data[release.OperatorCAKey], o.CA)
	if len(token) < minTokenLength {
		token = []byte(rand.Text())
	}
	o.mu.Lock()
	o.token = token
	o.mu.Unlock()
	if isCurrent {
		return nil, 0, nil
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: o.Release.Operator(), Labels: o.Release.Labels()},
		Data:       map[string][]byte{release.OperatorTokenKey: token, release.OperatorCAKey: o.CA},
	}, 0, nil
}
