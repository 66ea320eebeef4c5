package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/certificates"
)

// projecting returns a pod with one projected volume.
func (r *release) projecting(name string, sources ...corev1.VolumeProjection) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			Containers:                   []corev1.Container{{Name: "main", Image: "registry.test/app:1"}},
			Volumes: []corev1.Volume{{Name: "files", VolumeSource: corev1.VolumeSource{
				Projected: &corev1.ProjectedVolumeSource{Sources: sources},
			}}},
		},
	}
}

// TestTrustBundlesFollow checks that the files of a pod follow the ClusterTrustBundles of the
// virtual cluster.
func TestTrustBundlesFollow(t *testing.T) {
	r := newRelease(t)
	r.startKinds(t, "trustbundles")
	signer, named := "example.com/"+r.namespace, corev1.ClusterTrustBundleProjection{Name: new(r.namespace), Path: "named"}
	signed := corev1.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"stage": "live"}}, Path: "signed"}
	pod := r.projecting("reader", corev1.VolumeProjection{ClusterTrustBundle: &named}, corev1.VolumeProjection{ClusterTrustBundle: &signed})
	if err := r.virtual.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{} // name of a bundle, empty for those of the signer -> key
	for _, request := range translate.TrustRequests(pod) {
		keys[request.Name] = request.Key
	}
	host := translate.Derived(translate.TrustRole)(r.cluster, r.virtualKey("reader"))
	want := func(what string, data map[string]string) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			found := &corev1.ConfigMap{}
			if err := r.host.client.Get(ctx, host, found); err != nil {
				return err
			}
			if fmt.Sprint(found.Data) != fmt.Sprint(data) {
				return fmt.Errorf("it has %v, want %v", found.Data, data)
			}
			return nil
		})
	}
	want("no bundle is there", nil)
	one, two := string(certificates.NewAuthority(t, "one").CertPEM()), string(certificates.NewAuthority(t, "two").CertPEM())
	first := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}, Spec: certificatesv1.ClusterTrustBundleSpec{TrustBundle: one}}
	second := &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: "example.com:" + r.namespace + ":ca", Labels: map[string]string{"stage": "live"}},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: two},
	}
	for _, bundle := range []client.Object{first, second} {
		if err := r.virtual.client.Create(t.Context(), bundle); err != nil {
			t.Fatal(err)
		}
	}
	want("both bundles are there", map[string]string{keys[r.namespace]: one, keys[""]: two})
	change := client.MergeFrom(first.DeepCopy())
	first.Spec.TrustBundle = two
	if err := r.virtual.client.Patch(t.Context(), first, change); err != nil {
		t.Fatal(err)
	}
	want("the new certificate is there", map[string]string{keys[r.namespace]: two, keys[""]: two})
	change = client.MergeFrom(second.DeepCopy())
	second.Labels["stage"] = "retired"
	if err := r.virtual.client.Patch(t.Context(), second, change); err != nil {
		t.Fatal(err)
	}
	want("the retired bundle is gone", map[string]string{keys[r.namespace]: two})
}

// TestServiceLinksFollow checks that the variables of the Services of a namespace follow its
// Services once it has a pod.
func TestServiceLinksFollow(t *testing.T) {
	r := newRelease(t)
	r.startKinds(t, "servicelinks", "services")
	if err := r.virtual.client.Create(t.Context(), r.projecting("reader")); err != nil {
		t.Fatal(err)
	}
	hasHost := func(what string, found bool) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			links := &corev1.ConfigMap{}
			if err := r.host.client.Get(ctx, translate.LinksKey(r.cluster, r.namespace), links); err != nil {
				return err
			}
			if _, ok := links.Data["DB_SERVICE_HOST"]; ok != found {
				return fmt.Errorf("it has %v", links.Data)
			}
			return nil
		})
	}
	hasHost("no Service is there", false)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "db"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 5432}}},
	}
	if err := r.virtual.client.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	hasHost("the Service is there", true)
	if err := r.virtual.client.Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	hasHost("the Service is gone", false)
}

// TestPodsAreCertified checks that a pod gets the certificate that a signer of the virtual
// cluster issues for its request, with the key of that request.
func TestPodsAreCertified(t *testing.T) {
	r := newRelease(t)
	r.startKinds(t, "podcertificates")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	if err := r.virtual.client.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.virtual.client.Delete(stopping, node) })
	pod := r.projecting("certified", corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{
		SignerName: "example.com/" + r.namespace, KeyType: "ECDSAP256", CredentialBundlePath: "id.pem",
	}})
	pod.Spec.NodeName = node.Name
	if err := r.virtual.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	requests := &certificatesv1.PodCertificateRequestList{}
	eventually(t, "request", func(ctx context.Context) error {
		if err := r.virtual.client.List(ctx, requests, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		if len(requests.Items) != 1 {
			return fmt.Errorf("%d requests", len(requests.Items))
		}
		return nil
	})
	request := &requests.Items[0]
	if request.Spec.PodUID != pod.UID || request.Spec.NodeUID != node.UID || request.Spec.ServiceAccountUID == "" {
		t.Errorf("the request is for pod %s on node %s: %v", pod.UID, node.UID, request.Spec)
	}
	chain := sign(t, request)
	if err := r.virtual.client.Status().Update(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	key := translate.CertificateRequests(pod)[0].Key
	secret := &corev1.Secret{}
	eventually(t, "certificate", func(ctx context.Context) error {
		if err := r.host.client.Get(ctx, translate.Derived(translate.CertificateRole)(r.cluster, r.virtualKey("certified")), secret); err != nil {
			return err
		}
		if len(secret.Data[key+translate.BundleSuffix]) == 0 {
			return fmt.Errorf("the Secret has %d keys and no certificate", len(secret.Data))
		}
		return nil
	})
	if got := string(secret.Data[key+translate.ChainSuffix]); got != chain {
		t.Errorf("the chain is %s", got)
	}
	if _, err := tls.X509KeyPair(secret.Data[key+translate.BundleSuffix], secret.Data[key+translate.BundleSuffix]); err != nil {
		t.Errorf("the file of the pod is not usable: %v", err)
	}
}

// sign issues the certificate of a request, and returns it.
func sign(t *testing.T, request *certificatesv1.PodCertificateRequest) string {
	t.Helper()
	stub, err := x509.ParseCertificateRequest(request.Spec.StubPKCS10Request)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	refresh, after := before.Add(12*time.Hour), before.Add(24*time.Hour)
	leaf := &x509.Certificate{NotBefore: before, NotAfter: after}
	chain := string(certificates.Encode(certificates.Sign(t, leaf, stub.PublicKey, certificates.NewAuthority(t, "signer"))))
	request.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions: []metav1.Condition{{
			Type: certificatesv1.PodCertificateRequestConditionTypeIssued, Status: metav1.ConditionTrue,
			Reason: "Signed", LastTransitionTime: metav1.Now(),
		}},
		CertificateChain: chain, NotBefore: &metav1.Time{Time: before}, BeginRefreshAt: &metav1.Time{Time: refresh}, NotAfter: &metav1.Time{Time: after},
	}
	return chain
}
