package kinds

import (
	"cmp"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// PodCertificates creates a host Secret for each host pod that mounts certificates. A signer of the
// tenant issues them for PodCertificateRequests in the virtual cluster. The Secret has the private
// keys, and all state that is needed after a restart.
func PodCertificates(o Options) syncer.Resource[*corev1.Pod, *corev1.Secret] {
	c := podCertificates{o.PodCertificates}
	return syncer.Resource[*corev1.Pod, *corev1.Secret]{
		Owner: syncer.Virtual,
		Names: translate.Derived(translate.CertificateRole),
		Want:  shouldHaveCertificates,
		Down:  c.fillSecret,
		Up:    reportCertificates,
		// A binding is not seen as a change of the spec, so pods with certificates are watched with
		// their status too.
		StatusBlind: true,
		Also: []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Pod{}, Keys: podWithCertificates},
			{Side: syncer.Virtual, Object: &certificatesv1.PodCertificateRequest{}, Keys: podOfRequest},
		},
	}
}

// overdue is the delay after which a renewal is reported as late. A kubelet uses the same value.
const overdue = 10 * time.Minute

// podCertificates is the kind with its settings.
type podCertificates struct{ requester PodCertificateRequester }

// shouldHaveCertificates reports whether a pod needs a Secret with certificates. A request has the node
// of the pod, so there is none before the pod is bound.
func shouldHaveCertificates(_ syncer.Scope, virtual *corev1.Pod, host *corev1.Secret) (bool, error) {
	if len(translate.CertificateRequests(virtual)) == 0 {
		return false, nil
	}
	return host != nil || virtual.Spec.NodeName != "" && virtual.DeletionTimestamp == nil && !translate.IsFinished(virtual), nil
}

// fillSecret fills in the Secret of a pod. It takes the next step for each certificate.
func (c podCertificates) fillSecret(s syncer.Scope, virtual *corev1.Pod, host *corev1.Secret) error {
	data := map[string][]byte{}
	for _, request := range translate.CertificateRequests(virtual) {
		held := readCertificate(host.Data, request.Key)
		if !translate.IsFinished(virtual) && virtual.DeletionTimestamp == nil {
			if err := c.step(s, virtual, request, &held); err != nil {
				return err
			}
		}
		held.write(data, request.Key)
	}
	host.Data = data
	if host.Type == "" {
		host.Type = corev1.SecretTypeOpaque
	}
	return nil
}

// step takes the next step for one certificate. A new key is written into the Secret before it is
// requested, so no certificate is issued for a lost key.
func (c podCertificates) step(s syncer.Scope, virtual *corev1.Pod, request translate.CertificateRequest, held *certificate) error {
	switch {
	case held.outcome != "":
		return nil
	case held.request != "":
		return c.updateFromRequest(s, virtual, request, held)
	case held.isFresh(s, virtual):
		return nil
	}
	var err error
	held.request, held.nextKey, err = c.requester.NewKey(request.Source.KeyType)
	if err != nil {
		return fmt.Errorf("cannot create a key for a certificate of pod %s/%s: %w", virtual.Namespace, virtual.Name, err)
	}
	return nil
}

// updateFromRequest updates a certificate from its request. It creates the request if there is none.
func (c podCertificates) updateFromRequest(s syncer.Scope, virtual *corev1.Pod, request translate.CertificateRequest, held *certificate) error {
	var found certificatesv1.PodCertificateRequest
	name := types.NamespacedName{Namespace: virtual.Namespace, Name: held.request}
	err := s.Virtual.Get(s.Context, name, &found)
	if apierrors.IsNotFound(err) {
		wanted, err := newCertificateRequest(virtual, request, held)
		if err == nil {
			err = c.requester.Request(s.Context, wanted)
		}
		if err != nil {
			return fmt.Errorf("cannot request a certificate of signer %s for pod %s/%s: %w", request.Source.SignerName, virtual.Namespace, virtual.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot get PodCertificateRequest %s: %w", name, err)
	}
	if found.Spec.PodUID != virtual.UID || !hasKeyOf(&found, held.nextKey) {
		// Nobody else knows the name, so the tenant's admission has altered the request. It would alter the next one too.
		held.request, held.nextKey = "", nil
		held.outcome = certificatesv1.PodCertificateRequestConditionTypeFailed + "\nAltered: a webhook or a policy of this cluster has changed it"
		return nil
	}
	for i := range found.Status.Conditions {
		held.apply(&found, &found.Status.Conditions[i])
	}
	if !held.end.IsZero() {
		held.isFresh(s, virtual)
	}
	return nil
}

// newCertificateRequest returns the request for the next key of a certificate.
func newCertificateRequest(virtual *corev1.Pod, request translate.CertificateRequest, held *certificate) (*certificatesv1.PodCertificateRequest, error) {
	stub, err := stubRequest(held.nextKey)
	if err != nil {
		return nil, err
	}
	account := cmp.Or(virtual.Spec.ServiceAccountName, "default")
	return &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: virtual.Namespace, Name: held.request,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: virtual.Name, UID: virtual.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: request.Source.SignerName, PodName: virtual.Name, PodUID: virtual.UID, ServiceAccountName: account,
			NodeName: types.NodeName(virtual.Spec.NodeName), MaxExpirationSeconds: request.Source.MaxExpirationSeconds,
			StubPKCS10Request: stub, UnverifiedUserAnnotations: request.Source.UserAnnotations,
		},
	}, nil
}

// reportCertificates records Events about problems with the certificates of a pod.
func reportCertificates(s syncer.Scope, host *corev1.Secret, virtual *corev1.Pod) error {
	if translate.IsFinished(virtual) {
		return nil
	}
	for _, request := range translate.CertificateRequests(virtual) {
		held := readCertificate(host.Data, request.Key)
		if reason, message := held.problem(s.Now, request.Source.SignerName); reason != "" {
			s.RecordEvent(reason, message)
		}
	}
	return nil
}

// podWithCertificates returns the key of a pod that mounts certificates.
func podWithCertificates(_ syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	if pod, ok := object.(*corev1.Pod); !ok || len(translate.CertificateRequests(pod)) == 0 {
		return nil, nil
	}
	return []types.NamespacedName{client.ObjectKeyFromObject(object)}, nil
}

// podOfRequest returns the key of the pod of a PodCertificateRequest.
func podOfRequest(_ syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	request, ok := object.(*certificatesv1.PodCertificateRequest)
	if !ok {
		return nil, nil
	}
	return []types.NamespacedName{{Namespace: request.Namespace, Name: request.Spec.PodName}}, nil
}
