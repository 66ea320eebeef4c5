package controlplane

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// servingSigner is the signer of the certificate of each API server. A pod can mount its trust
// bundle instead of the ConfigMap kube-root-ca.crt.
const servingSigner = "kubernetes.io/kube-apiserver-serving"

// testTrustBundle checks that the authority of the API server is a ClusterTrustBundle too, as in
// each cluster from 1.37 on. It comes back when somebody deletes it.
func testTrustBundle(t *testing.T, p *plane) {
	name := awaitTrustBundle(t, p)
	if err := p.client.CertificatesV1().ClusterTrustBundles().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitTrustBundle(t, p)
}

// awaitTrustBundle waits until there is one bundle of the signer, with all authorities that are
// trusted. It returns its name.
func awaitTrustBundle(t *testing.T, p *plane) (name string) {
	t.Helper()
	eventually(t, "the trust bundle of the API server", func(ctx context.Context) string {
		bundles, err := p.client.CertificatesV1().ClusterTrustBundles().List(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=" + servingSigner})
		if err != nil {
			return err.Error()
		}
		if len(bundles.Items) != 1 || bundles.Items[0].Spec.TrustBundle != string(p.bundle.CA()) {
			return fmt.Sprintf("%d bundles, or another authority", len(bundles.Items))
		}
		name = bundles.Items[0].Name
		return ""
	})
	return name
}
