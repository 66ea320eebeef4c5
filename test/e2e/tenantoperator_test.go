//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/test/certificates"
)

// tenantOperator is hostlab/cmd/testoperator with all that it needs, as in its Helm chart.
const tenantOperator = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shelves.test.example.com}
spec:
  group: test.example.com
  scope: Namespaced
  names: {kind: Shelf, plural: shelves, singular: shelf}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {books: {type: integer}}}
          status: {type: object, properties: {books: {type: integer}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shelf-operator}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator, namespace: shelf-operator}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: shelf-operator}
rules:
- {apiGroups: [test.example.com], resources: [shelves, shelves/status, shelves/finalizers], verbs: [get, list, watch, update]}
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch, create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
- {apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: shelf-operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: shelf-operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: shelf-operator}]
---
apiVersion: v1
kind: Secret
metadata: {name: certificate, namespace: shelf-operator}
type: kubernetes.io/tls
data: {tls.crt: @CERT@, tls.key: @KEY@}
---
apiVersion: v1
kind: Service
metadata: {name: webhook, namespace: shelf-operator}
spec: {selector: {app: operator}, ports: [{port: 443, targetPort: 9443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator, namespace: shelf-operator}
spec:
  replicas: 2
  selector: {matchLabels: {app: operator}}
  template:
    metadata: {labels: {app: operator}}
    spec:
      serviceAccountName: operator
      terminationGracePeriodSeconds: 1
      containers:
      - name: operator
        image: @IMAGE@
        command: [/bin/testoperator, --namespace=shelf-operator, --certificates=/certificate]
        readinessProbe: {httpGet: {path: /readyz, port: 8081}, periodSeconds: 1}
        volumeMounts: [{name: certificate, mountPath: /certificate}]
      volumes: [{name: certificate, secret: {secretName: certificate}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: shelves}
webhooks:
- name: default.test.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 5
  clientConfig: {caBundle: @CERT@, service: {namespace: shelf-operator, name: webhook, path: /default}}
  rules: [{apiGroups: [test.example.com], apiVersions: [v1], resources: [shelves], operations: [CREATE, UPDATE]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: shelves}
webhooks:
- name: validate.test.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 5
  clientConfig: {caBundle: @CERT@, service: {namespace: shelf-operator, name: webhook, path: /validate}}
  rules: [{apiGroups: [test.example.com], apiVersions: [v1], resources: [shelves], operations: [CREATE, UPDATE]}]
`

// shelf returns the manifest of a Shelf.
func shelf(name, spec string) string {
	return "apiVersion: test.example.com/v1\nkind: Shelf\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

// testTenantOperator runs an operator of the tenant: definitions, webhooks, leader election and
// finalizers. It continues after its pods and the control plane have restarted together.
func testTenantOperator(t *testing.T, tn *tenant) {
	cert, key := newServingPair(t, "webhook.shelf-operator.svc")
	tn.apply(strings.NewReplacer("@CERT@", cert, "@KEY@", key).Replace(tenantOperator))
	t.Cleanup(func() {
		// Webhooks without pods would refuse what the next test does.
		for _, kind := range []string{"mutatingwebhookconfiguration/shelves", "validatingwebhookconfiguration/shelves"} {
			tn.kubectl("delete", kind, "--ignore-not-found")
		}
		tn.kubectl("delete", "namespace", "shelf-operator", "--wait=false")
	})
	tn.kubectl("-n", "shelf-operator", "rollout", "status", "deployment/operator", "--timeout", patience.String())

	tn.awaitShelf("first", "{}", "1")
	eventually(t, "the webhook denies a shelf that is too large", func(context.Context) error {
		out, err := tn.applyOutput(shelf("large", "{books: 6}"))
		if err == nil {
			t.Fatalf("it admits it: %s", out)
		}
		if !strings.Contains(out, "no room for that many books") {
			return errors.New(out)
		}
		return nil
	})

	// All at once, without notice.
	grace := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	if err := tn.virtual.CoreV1().Pods("shelf-operator").DeleteCollection(t.Context(), grace, metav1.ListOptions{LabelSelector: "app=operator"}); err != nil {
		t.Fatal(err)
	}
	tn.restart()
	tn.awaitShelf("second", "{books: 2}", "2")
	tn.kubectl("delete", "shelf", "first", "--wait=false")
	eventually(t, "the finalizer of the first shelf ran", func(ctx context.Context) error {
		if _, err := tn.virtual.CoreV1().ConfigMaps("default").Get(ctx, "removed-first", metav1.GetOptions{}); err != nil {
			return err
		}
		if _, err := tn.virtual.CoreV1().ConfigMaps("default").Get(ctx, "first-0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("its book is still there: %w", err)
		}
		return nil
	})
	tn.kubectl("delete", "shelf", "second", "--wait=true", "--timeout", patience.String())
	tn.isLedOnce()
}

// awaitShelf creates a Shelf, once the webhooks answer, and waits for the operator.
func (tn *tenant) awaitShelf(name, spec, books string) {
	tn.t.Helper()
	eventually(tn.t, "the webhooks admit shelf "+name, func(context.Context) error {
		out, err := tn.applyOutput(shelf(name, spec))
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
	tn.await("jsonpath={.status.books}="+books, "shelf/"+name)
}

// isLedOnce checks that the operator has a leader, and that it is one of its pods.
func (tn *tenant) isLedOnce() {
	tn.t.Helper()
	lease, err := tn.virtual.CoordinationV1().Leases("shelf-operator").Get(tn.t.Context(), "testoperator", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		tn.t.Fatalf("the operator has no leader: %v", err)
	}
	pods, err := tn.virtual.CoreV1().Pods("shelf-operator").List(tn.t.Context(), metav1.ListOptions{LabelSelector: "app=operator"})
	if err != nil {
		tn.t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if strings.HasPrefix(*lease.Spec.HolderIdentity, pod.Name+"_") {
			return
		}
	}
	tn.t.Errorf("the leader is %s, which is none of the %d pods", *lease.Spec.HolderIdentity, len(pods.Items))
}

// applyOutput applies a manifest and returns what kubectl prints.
func (tn *tenant) applyOutput(manifest string) (string, error) {
	command := tn.command("apply", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	out, err := command.CombinedOutput()
	return string(out), err
}

// newServingPair returns a certificate for a name, which is its own authority, and its key. Both
// are in the form of a Secret's data.
func newServingPair(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	pair := certificates.New(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, nil)
	return base64.StdEncoding.EncodeToString(pair.CertPEM()), base64.StdEncoding.EncodeToString(pair.KeyPEM(t))
}
