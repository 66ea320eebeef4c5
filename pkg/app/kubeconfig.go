package app

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// adminUser is the name in the tenant's client certificate.
const adminUser = "kubernetes-admin"

// kubeconfigWriter keeps the tenant's kubeconfig in a host Secret: for the
// settings of today, and with a certificate that has a good part of its life
// before it.
type kubeconfigWriter struct {
	client kubernetes.Interface
	names  hostNames
	anchor metav1.OwnerReference
	bundle *pki.Bundle
	// server and context are those of the file.
	server, context string
	clock           clock.Clock
}

// Run writes the Secret, and again before the certificate in it ends. A host
// that does not answer only delays it.
func (w *kubeconfigWriter) Run(ctx context.Context) error {
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 20, Cap: 15 * time.Second}
	retry, failing := backoff, false
	for {
		next, err := w.ensure(ctx)
		if err != nil {
			next = retry.Step()
			if !failing && ctx.Err() == nil {
				klog.ErrorS(err, "The tenant's kubeconfig waits for the host")
			}
		} else {
			retry = backoff
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-w.clock.After(next):
		}
	}
}

// ensure writes the Secret unless it is right, and says when to look again.
func (w *kubeconfigWriter) ensure(ctx context.Context) (time.Duration, error) {
	secrets := w.client.CoreV1().Secrets(w.names.namespace)
	current, err := secrets.Get(ctx, w.names.kubeconfig(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("cannot read host Secret %s: %w", w.names.kubeconfig(), err)
	}
	exists := err == nil
	if left, right := w.lifetime(current); exists && right {
		return left, nil
	}
	wanted, err := w.secret()
	if err != nil {
		return 0, err
	}
	if !exists {
		_, err = secrets.Create(ctx, wanted, metav1.CreateOptions{})
	} else {
		current.Data, current.OwnerReferences = wanted.Data, wanted.OwnerReferences
		current.Labels = with(current.Labels, wanted.Labels)
		_, err = secrets.Update(ctx, current, metav1.UpdateOptions{})
	}
	if err != nil {
		return 0, fmt.Errorf("cannot write host Secret %s: %w", w.names.kubeconfig(), err)
	}
	left, _ := w.lifetime(wanted)
	return left, nil
}

// lifetime says how long the kubeconfig in secret is good, and whether it is the
// one that is wanted today.
func (w *kubeconfigWriter) lifetime(secret *corev1.Secret) (time.Duration, bool) {
	content := secret.Data["config"]
	expires, ours := w.bundle.KubeconfigExpires(content)
	left := expires.Sub(w.clock.Now()) - pki.LeafValidity/3
	if !ours || left <= 0 {
		return 0, false
	}
	config, err := clientcmd.Load(content)
	if err != nil || config.CurrentContext != w.context {
		return 0, false
	}
	cluster := config.Clusters[w.context]
	return left, cluster != nil && cluster.Server == w.server
}

// secret is a Secret with a fresh certificate. Its keys are those that users of
// other virtual clusters know.
func (w *kubeconfigWriter) secret() (*corev1.Secret, error) {
	content, err := w.bundle.KubeconfigAt(w.clock.Now(), w.server, w.context, adminUser, pki.GroupAdmins)
	if err != nil {
		return nil, err
	}
	ca, cert, key, err := pki.KubeconfigParts(content)
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:            w.names.kubeconfig(),
			Labels:          map[string]string{"app.kubernetes.io/name": "sublet", "app.kubernetes.io/instance": w.names.release},
			OwnerReferences: []metav1.OwnerReference{w.anchor},
		},
		Data: map[string][]byte{
			"config":                content,
			"certificate-authority": ca,
			"client-certificate":    cert,
			"client-key":            key,
		},
	}, nil
}

// with is base with more in it.
func with(base, more map[string]string) map[string]string {
	all := maps.Clone(base)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	return all
}
