//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/test/certificates"
)

// replicatedValues returns the values of a release that has a Service of the host, and gives
// one to it.
func replicatedValues() []string {
	const networking = "networking.replicateServices."
	return []string{
		networking + "fromHost[0].from=" + sharedNamespace + "/web", networking + "fromHost[0].to=default/hosted",
		networking + "toHost[0].from=default/mine", networking + "toHost[0].to=e2e-mine",
	}
}

// createHostServer runs a server of the host in the shared namespace, with a Service.
func createHostServer(t *testing.T) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}}
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64), AutomountServiceAccountToken: new(false),
		Containers: []corev1.Container{{
			Name: "main", Image: testImage, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"sh", "-c", "mkdir -p /tmp/www; echo of-the-host >/tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"},
		}},
	}}
	eventually(t, "a server of the host", func(ctx context.Context) error {
		_, err := hostClient.CoreV1().Pods(sharedNamespace).Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err // The service account of the namespace comes later.
	})
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Selector: meta.Labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
	if _, err := hostClient.CoreV1().Services(sharedNamespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

const sharing = `
apiVersion: v1
kind: Service
metadata: {name: mine}
spec: {selector: {app: mine}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: certificates.k8s.io/v1
kind: ClusterTrustBundle
metadata: {name: e2e-bundle}
spec:
  trustBundle: |
    @BUNDLE@
---
apiVersion: v1
kind: Pod
metadata: {name: mine, labels: {app: mine}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'mkdir -p /tmp/www; echo of-the-tenant >/tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www']
      volumeMounts: [{name: files, mountPath: /etc/files}]
  volumes:
    - name: files
      projected:
        sources:
          - clusterTrustBundle: {name: e2e-bundle, path: bundle.pem}
          - podCertificate: {signerName: example.com/e2e, keyType: ECDSAP256, credentialBundlePath: id.pem}
`

// testSharedServices checks that pods reach the Service of the host by its virtual name. The
// host reaches one of the tenant by the name that the operator chose.
func (tn *tenant) testSharedServices() {
	tn.t.Helper()
	tn.cannotChange("service/hosted")
	if got := tn.inPod("mine", "timeout 5 wget -qO- http://hosted"); got != "of-the-host\n" {
		tn.t.Errorf("the Service of the host says %q", got)
	}
	eventually(tn.t, "the tenant's Service on the host", func(ctx context.Context) error {
		_, err := hostClient.CoreV1().Services(tn.namespace).Get(ctx, "e2e-mine", metav1.GetOptions{})
		return err
	})
	eventually(tn.t, "an answer of the tenant's Service", func(ctx context.Context) error {
		body, err := hostClient.CoreV1().Services(tn.namespace).ProxyGet("http", "e2e-mine", "80", "/", nil).DoRaw(ctx)
		if err == nil && string(body) != "of-the-tenant\n" {
			err = fmt.Errorf("it says %q", body)
		}
		return err
	})
	tn.kubectl("delete", "service/mine")
	eventually(tn.t, "the end of the tenant's Service on the host", func(ctx context.Context) error {
		left, err := hostClient.CoreV1().Services(tn.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Replica + "=true"})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d are left", len(left.Items))
		}
		return err
	})
}

// signCertificate issues the certificate that a pod waits for, as a signer of the tenant.
func (tn *tenant) signCertificate() {
	tn.t.Helper()
	requests := tn.virtual.CertificatesV1().PodCertificateRequests("default")
	eventually(tn.t, "a signed request", func(ctx context.Context) error {
		list, err := requests.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			return fmt.Errorf("there is no request")
		}
		request := &list.Items[0]
		stub, err := x509.ParseCertificateRequest(request.Spec.StubPKCS10Request)
		if err != nil {
			return err
		}
		before := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
		refresh, after := before.Add(12*time.Hour), before.Add(24*time.Hour)
		leaf := &x509.Certificate{NotBefore: before, NotAfter: after}
		chain := string(certificates.Encode(certificates.Sign(tn.t, leaf, stub.PublicKey, certificates.NewAuthority(tn.t, "signer"))))
		request.Status = certificatesv1.PodCertificateRequestStatus{
			Conditions: []metav1.Condition{{
				Type: certificatesv1.PodCertificateRequestConditionTypeIssued, Status: metav1.ConditionTrue,
				Reason: "Signed", LastTransitionTime: metav1.Now(),
			}},
			CertificateChain: chain, NotBefore: &metav1.Time{Time: before}, BeginRefreshAt: &metav1.Time{Time: refresh}, NotAfter: &metav1.Time{Time: after},
		}
		_, err = requests.UpdateStatus(ctx, request, metav1.UpdateOptions{})
		return err
	})
}

// runSharing starts the tenant's server, whose files are a trust bundle and a certificate.
func (tn *tenant) runSharing() {
	tn.t.Helper()
	bundle := string(certificates.NewAuthority(tn.t, "trusted").CertPEM())
	tn.apply(strings.ReplaceAll(sharing, "@BUNDLE@", strings.ReplaceAll(strings.TrimSpace(bundle), "\n", "\n    ")))
	tn.signCertificate()
	tn.await("condition=Ready", "pod/mine")
	if got := tn.inPod("mine", "cat /etc/files/bundle.pem"); got != bundle {
		tn.t.Errorf("the trust bundle is %q", got)
	}
	tn.inPod("mine", `grep -q "PRIVATE KEY" /etc/files/id.pem && grep -q "BEGIN CERTIFICATE" /etc/files/id.pem`)
}
