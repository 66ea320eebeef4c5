package host

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/api/release"
)

// certs returns the certs Secret, which it restores or completes if that is needed.
func (d *Discovery) certs(ctx context.Context, known, facts *Facts, seen *answers) (*corev1.Secret, error) {
	damage := d.findDamage(seen.certs)
	if damage != nil && (!known.hasCerts() || d.CheckCerts(known.Certs) != nil) {
		return nil, &factError{fmt.Sprintf("cannot use host Secret %s/%s: %v. Restore it from a backup", d.Release.Namespace, d.Release.Certs(), damage)}
	}
	certs := seen.certs
	if certs == nil || damage != nil || d.isOfEarlierRelease(certs, known, facts.Anchor.UID) {
		var err error
		if certs, err = d.restoreCerts(ctx, known, facts, seen); err != nil {
			return nil, err
		}
	}
	return d.completeCerts(ctx, certs)
}

// findDamage returns why an existing Secret cannot be used, nil if it can or if there is none. Its copy on the volume
// may be the only good one then.
func (d *Discovery) findDamage(secret *corev1.Secret) error {
	if secret == nil || d.CheckCerts == nil {
		return nil
	}
	return d.CheckCerts(secret.Data)
}

// isOfEarlierRelease reports whether a certs Secret belongs to an earlier release of this name, which
// the host has yet to delete. Whoever has a kubeconfig or a token of that release would be let in. If
// the volume has a store without a copy of its keys, the Secret has the only ones.
func (d *Discovery) isOfEarlierRelease(secret *corev1.Secret, known *Facts, anchor types.UID) bool {
	return isOfEarlierAnchor(secret, d.Release, anchor) && (known.hasCerts() || !hasStore(d.DataDir))
}

// isOfEarlierAnchor reports whether an anchor of an earlier release with the same name owns a Secret, and
// the current anchor does not.
func isOfEarlierAnchor(secret *corev1.Secret, r release.Release, anchor types.UID) bool {
	earlier := false
	for _, owner := range secret.OwnerReferences {
		if owner.UID == anchor {
			return false
		}
		earlier = earlier || owner.Kind == "ConfigMap" && owner.Name == r.Anchor()
	}
	return earlier
}

// restoreCerts returns the certs Secret if a start finds none, or that of an earlier release, which it
// overwrites. If the data directory has a store and a copy of its keys, it restores that copy. It
// creates new keys only for a new store, because they invalidate all kubeconfigs and tokens. A shared
// store is new if no replica has ever led.
func (d *Discovery) restoreCerts(ctx context.Context, known, facts *Facts, seen *answers) (*corev1.Secret, error) {
	anchor := facts.Anchor
	if facts.Shared && !known.hasCerts() && recordOf(seen.anchor).Epoch > 0 {
		return nil, &StandbyError{fmt.Sprintf("host Secret %s/%s does not exist or is of an earlier release, and this replica has no copy of its keys. "+
			"Restore the Secret from a backup, or wait for a replica that has a copy", d.Release.Namespace, d.Release.Certs())}
	}
	if isNew := !hasStore(d.DataDir); isNew && (!facts.Shared || !known.hasCerts()) {
		data, err := d.NewCerts(d.Clock.Now())
		if err != nil {
			return nil, &factError{fmt.Sprintf("cannot create the certificate authority: %v", err)}
		}
		return d.writeCerts(ctx, seen.certs, data, anchor)
	}
	if !known.hasCerts() {
		return nil, &factError{fmt.Sprintf("host Secret %s/%s does not exist, and the volume of the store has no copy of its keys. "+
			"Restore the Secret from a backup, or delete claim %s and its pod to start with an empty store",
			d.Release.Namespace, d.Release.Certs(), d.Release.Claim(0))}
	}
	secret, err := d.writeCerts(ctx, seen.certs, known.Certs, anchor)
	if err != nil {
		return nil, err
	}
	klog.InfoS("Restored the certificate authority and keys from the volume of the store", "secret", secret.Name)
	d.Events.record(anchor, corev1.EventTypeWarning, "CertsRestored",
		"Secret "+secret.Name+" was missing or damaged. It was restored from the volume of the store.")
	return secret, nil
}

// completeCerts adds keys that the Secret of an earlier release does not have. If several
// replicas do so at once, one succeeds, and the others meet a conflict and read the Secret
// again.
func (d *Discovery) completeCerts(ctx context.Context, secret *corev1.Secret) (*corev1.Secret, error) {
	if d.CompleteCerts == nil {
		return secret, nil
	}
	data, changed, err := d.CompleteCerts(secret.Data, d.Clock.Now())
	if err != nil {
		return nil, &factError{fmt.Sprintf("cannot complete the certificates: %v", err)}
	}
	if !changed {
		return secret, nil
	}
	next := secret.DeepCopy()
	next.Data = data
	written, err := d.Client.CoreV1().Secrets(d.Release.Namespace).Update(ctx, next, metav1.UpdateOptions{})
	return written, wrap(err, "update host Secret %s", d.Release.Certs())
}

// writeCerts overwrites the Secret of an earlier release, or creates the Secret if earlier is nil. The
// host does not delete a Secret whose owner exists.
func (d *Discovery) writeCerts(ctx context.Context, earlier *corev1.Secret, data map[string][]byte, anchor metav1.OwnerReference) (*corev1.Secret, error) {
	if earlier == nil {
		return d.createCerts(ctx, data, anchor)
	}
	next := earlier.DeepCopy()
	next.OwnerReferences, next.Data = []metav1.OwnerReference{anchor}, data
	written, err := d.Client.CoreV1().Secrets(d.Release.Namespace).Update(ctx, next, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return d.createCerts(ctx, data, anchor) // The host has just deleted it.
	}
	if err != nil {
		return nil, wrap(err, "overwrite host Secret %s of an earlier release", d.Release.Certs())
	}
	klog.InfoS("Replaced the certificate authority and keys of an earlier release", "secret", written.Name)
	return written, nil
}

// createCerts creates the Secret. If another process has created it first, createCerts returns
// that one, so that there is always only one certificate authority.
func (d *Discovery) createCerts(ctx context.Context, data map[string][]byte, anchor metav1.OwnerReference) (*corev1.Secret, error) {
	secrets := d.Client.CoreV1().Secrets(d.Release.Namespace)
	created, err := secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: d.Release.Certs(), OwnerReferences: []metav1.OwnerReference{anchor}},
		Type:       release.CertsType,
		Data:       data,
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		created, err = secrets.Get(ctx, d.Release.Certs(), metav1.GetOptions{})
	}
	return created, wrap(err, "create host Secret %s", d.Release.Certs())
}

// CertsSecret is the desired certs Secret. If it is deleted or damaged, it gets the keys that the server uses. Another
// existing Secret is not changed.
type CertsSecret struct {
	// Name is the name of the Secret.
	Name string
	// Data are the keys that the server uses.
	Data map[string][]byte
	// Check returns why data cannot be used. Default: all can.
	Check func(data map[string][]byte) error
}

// Want implements [WantSecret].
func (c *CertsSecret) Want(_ context.Context, current *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	if current != nil && (c.Check == nil || c.Check(current.Data) == nil) {
		return nil, 0, nil
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: c.Name}, Type: release.CertsType, Data: c.Data}, 0, nil
}
