//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

const roleAnnotation = "eks.amazonaws.com/role-arn"

const runsAsBuilder = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder, annotations: {eks.amazonaws.com/role-arn: first, example.com/other: stays}}
---
apiVersion: v1
kind: Pod
metadata: {name: builder}
spec:
  serviceAccountName: builder
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'test -s /var/run/secrets/kubernetes.io/serviceaccount/token && sleep infinity']
`

// TestServiceAccounts runs a pod as the copy of its service account, with the permissions and
// the fence of the chart. The copy has the annotations that the operator allows.
func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	tn := install(t, "accounts", "tenant-accounts", "sync.toHost.serviceAccounts.enabled=true",
		"sync.toHost.serviceAccounts.annotations.allow={eks.amazonaws.com/*}")
	tn.apply(runsAsBuilder)
	tn.await("condition=Ready", "pod/builder")
	copied := tn.hostAccount(t, "first")
	pods, err := hostClient.CoreV1().Pods(tn.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: labels.Namespace + "=default"})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Spec.ServiceAccountName != copied.Name {
		t.Errorf("the host pod must run as %s: %v, %v", copied.Name, pods, err)
	}
	if _, found := copied.Annotations["example.com/other"]; found {
		t.Errorf("an annotation that is not allowed is on the host: %v", copied.Annotations)
	}

	tn.kubectl("annotate", "--overwrite", "serviceaccount", "builder", roleAnnotation+"=second")
	tn.hostAccount(t, "second")
	tn.kubectl("delete", "pod,serviceaccount", "builder")
	tn.hostAccount(t, "")
}

// hostAccount waits until the copy of the account builder has a role, or until there is none
// for an empty role.
func (tn *tenant) hostAccount(t *testing.T, role string) *corev1.ServiceAccount {
	t.Helper()
	var found *corev1.ServiceAccount
	eventually(t, "account of role "+role, func(ctx context.Context) error {
		list, err := hostClient.CoreV1().ServiceAccounts(tn.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Namespace + "=default"})
		if err != nil {
			return err
		}
		got := ""
		for i := range list.Items {
			if list.Items[i].Annotations[labels.VirtualName] == "builder" {
				found, got = &list.Items[i], list.Items[i].Annotations[roleAnnotation]
			}
		}
		if got != role {
			return fmt.Errorf("the role is %q, want %q", got, role)
		}
		return nil
	})
	return found
}
