//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/hostlab"
)

const certManagerNamespace = "e2e-cert-manager"

// hostIssuers has an authority of the host, the issuer that tenants see, and one that they do not.
const hostIssuers = `
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: e2e-hidden}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: authority, namespace: e2e-cert-manager}
spec:
  isCA: true
  commonName: e2e-authority
  secretName: authority
  privateKey: {algorithm: ECDSA, size: 256}
  issuerRef: {name: e2e-hidden, kind: ClusterIssuer}
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: e2e-public, labels: {e2e: shown}}
spec: {ca: {secretName: authority}}
`

const certificateOfTenant = `
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: web}
spec:
  secretName: certificate
  dnsNames: [www.shop.example.com]
  privateKey: {algorithm: ECDSA, size: 256}
  issuerRef: {name: e2e-public, kind: ClusterIssuer}
`

const issuerOfTenant = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: own}
spec: {selfSigned: {}}
`

// certManagerChart returns the folder of the chart of cert-manager. Its authors complete it when
// they release it, as is done here.
func certManagerChart(t *testing.T, sources string) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "cert-manager")
	if err := os.CopyFS(chart, os.DirFS(filepath.Join(sources, "deploy/charts/cert-manager"))); err != nil {
		t.Fatal(err)
	}
	about := strings.ReplaceAll(readManifests(t, chart, "Chart.template.yaml"), "v0.1.0", "v1.11.5")
	definitions := readManifests(t, sources, "deploy/crds/*.yaml")
	for name, text := range map[string]string{"Chart.yaml": about, "templates/crds.yaml": definitions} {
		if err := os.WriteFile(filepath.Join(chart, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return chart
}

// startCertManager runs cert-manager on the host, with the issuers, and returns the certificate of
// the authority.
func startCertManager(t *testing.T) []byte {
	t.Helper()
	sources := loadSoftware(t, hostlab.CertManager())[0]
	createHostNamespace(t, certManagerNamespace)
	installOnHost(t, "cert-manager", certManagerNamespace, certManagerChart(t, sources), `
startupapicheck: {enabled: false}
global: {leaderElection: {namespace: e2e-cert-manager}}
`)
	awaitRollout(t, certManagerNamespace, "cert-manager", "cert-manager-webhook", "cert-manager-cainjector")
	applyOnHost(t, hostIssuers)
	var authority []byte
	eventually(t, "certificate of the authority", func(ctx context.Context) error {
		secret, err := hostClient.CoreV1().Secrets(certManagerNamespace).Get(ctx, "authority", metav1.GetOptions{})
		if err != nil {
			return err
		}
		authority = secret.Data[corev1.TLSCertKey]
		return nil
	})
	return authority
}

// testCertificates runs cert-manager on the host. A tenant asks an issuer of the host for a
// certificate and gets the Secret, and an Ingress of the tenant serves it. Neither issuers that
// the tenant does not see nor host names of others pass.
func testCertificates(t *testing.T) {
	authority := startCertManager(t)
	controller := startIngressController(t, authority)
	tn := install(t, "certificates", "tenant-certificates", admitsFrom(controllerNamespace),
		"integrations.certManager.enabled=true",
		`sync.fromHost.customResources.clusterissuers\.cert-manager\.io.selector.matchLabels.e2e=shown`,
		"sync.toHost.ingresses.enabled=true", "policies.ingresses.hosts={*.shop.example.com}",
		"sync.fromHost.ingressClasses.enabled=true", "sync.fromHost.ingressClasses.selector.matchLabels.e2e=shown")
	tn.awaits("clusterissuers", "e2e-public")
	tn.applies(certificateOfTenant)
	tn.isDenied("e2e-hidden", strings.Replace(certificateOfTenant, "e2e-public", "e2e-hidden", 1))
	tn.isDenied("policies.ingresses.hosts", strings.Replace(certificateOfTenant, "www.shop", "www.bank", 1))
	_, served, _ := strings.Cut(shopIngress, "---")
	tn.apply(strings.ReplaceAll(served, "@OWNER@", "certified"))
	tn.await("condition=Ready", "certificate/web")
	controller.answers(t, "https://www.shop.example.com", "certified")

	tn.kubectl("patch", "certificate", "web", "--type=merge", "-p", `{"spec":{"dnsNames":["www.shop.example.com","api.shop.example.com"]}}`)
	tn.hasCertificate("certificate", "api.shop.example.com")
	tn.applies(issuerOfTenant)
	tn.await("condition=Ready", "issuer/own")
	tn.changes("issuers", "own", `{"spec":{"selfSigned":{"crlDistributionPoints":["http://www.shop.example.com"]}}}`,
		".spec.selfSigned.crlDistributionPoints[0]", "http://www.shop.example.com")
	tn.changes("certificates.cert-manager.io", "web", `{"spec":{"duration":"48h0m0s"}}`, ".spec.duration", "48h0m0s")
}

// awaits waits until the tenant has just these objects of a kind.
func (tn *tenant) awaits(kind, want string) {
	tn.t.Helper()
	eventually(tn.t, kind+" of the host", func(context.Context) error {
		out, err := tn.command("get", kind, "-A", "-o", "jsonpath={.items[*].metadata.name}").CombinedOutput()
		if err != nil || string(out) != want {
			return fmt.Errorf("got %q, want %q: %w", out, want, err)
		}
		return nil
	})
}

// applies creates what a manifest has, as the tenant, as soon as its kind is served.
func (tn *tenant) applies(manifest string) {
	tn.t.Helper()
	eventually(tn.t, "manifest of the tenant", func(context.Context) error {
		cmd := tn.command("apply", "-f", "-")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(manifest, "@IMAGE@", testImage))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// hasCertificate waits until a Secret of the tenant has a certificate of a host name.
func (tn *tenant) hasCertificate(secret, host string) {
	tn.t.Helper()
	eventually(tn.t, "certificate of "+host, func(ctx context.Context) error {
		got, err := tn.virtual.CoreV1().Secrets(metav1.NamespaceDefault).Get(ctx, secret, metav1.GetOptions{})
		if err != nil {
			return err
		}
		block, _ := pem.Decode(got.Data[corev1.TLSCertKey])
		if block == nil {
			return fmt.Errorf("the Secret has no certificate")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !slices.Contains(certificate.DNSNames, host) {
			return fmt.Errorf("the certificate has other names: %w", err)
		}
		return nil
	})
}
