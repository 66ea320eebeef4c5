package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/controlplane/audit"
	"github.com/sublet-dev/sublet/test/await"
)

func settings(change func(*v1alpha1.Audit)) v1alpha1.Audit {
	audit := v1alpha1.Default().ControlPlane.Advanced.Audit
	audit.Enabled = true
	change(&audit)
	return audit
}

func TestOff(t *testing.T) {
	t.Parallel()
	backend, rules, err := audit.New(audit.Options{Settings: v1alpha1.Default().ControlPlane.Advanced.Audit})
	if backend != nil || rules != nil || err != nil {
		t.Errorf("without an audit log there are %v, %v, %v", backend, rules, err)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	_, rules, err := audit.New(audit.Options{Out: &bytes.Buffer{}, Settings: settings(func(a *v1alpha1.Audit) {
		a.Policy.Rules = []v1alpha1.AuditRule{
			{Level: "None", Verbs: []string{"watch"}},
			{Level: "RequestResponse", Resources: []v1alpha1.AuditResources{{Group: "apps", Resources: []string{"deployments"}}}},
			{Level: "Metadata", Namespaces: []string{"shop"}},
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reason, verb, group, resource, namespace string
		want                                     auditinternal.Level
	}{
		{"the first rule that fits", "watch", "apps", "deployments", "shop", auditinternal.LevelNone},
		{"a rule about a resource", "create", "apps", "deployments", "other", auditinternal.LevelRequestResponse},
		{"a rule about a namespace", "create", "", "pods", "shop", auditinternal.LevelMetadata},
		{"no rule", "create", "", "pods", "other", auditinternal.LevelNone},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			got := rules.EvaluatePolicyRule(authorizer.AttributesRecord{
				User: &user.DefaultInfo{Name: "ann"}, Verb: c.verb, APIGroup: c.group, Resource: c.resource, Namespace: c.namespace, ResourceRequest: true,
			})
			if got.Level != c.want {
				t.Errorf("level %s, want %s", got.Level, c.want)
			}
			if c.want != auditinternal.LevelNone && (!got.OmitManagedFields || !slices.Equal(got.OmitStages, []auditinternal.Stage{auditinternal.StageRequestReceived})) {
				t.Errorf("the defaults of the policy are lost: %+v", got)
			}
		})
	}
}

// TestBackends sends an event to the log and to a webhook.
func TestBackends(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var received []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var list auditv1.EventList
		if err := json.NewDecoder(req.Body).Decode(&list); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, event := range list.Items {
			received = append(received, string(event.AuditID))
		}
	}))
	t.Cleanup(server.Close)
	var out bytes.Buffer
	backend, _, err := audit.New(audit.Options{Out: &out, Kubeconfig: writeKubeconfig(t, server.URL), Settings: settings(func(*v1alpha1.Audit) {})})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	if err := backend.Run(stop); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		backend.ProcessEvents(&auditinternal.Event{AuditID: types.UID(fmt.Sprintf("event-%d", n)), Level: auditinternal.LevelMetadata, Verb: "create"})
	}
	close(stop)
	backend.Shutdown() // It sends what waits.
	want := []string{"event-0", "event-1", "event-2"}
	await.Until(t, "the webhook has all events", func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		// Batches are sent side by side, so they arrive in any order.
		if diff := cmp.Diff(want, slices.Sorted(slices.Values(received))); diff != "" {
			return fmt.Errorf("events (-want +got):\n%s", diff)
		}
		return nil
	})
	var logged []string
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		var event auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil || event.Kind != "Event" {
			t.Errorf("%q: %v", lines.Text(), err)
		}
		logged = append(logged, string(event.AuditID))
	}
	if diff := cmp.Diff(want, logged); diff != "" {
		t.Errorf("lines of the log (-want +got):\n%s", diff)
	}
}

func writeKubeconfig(t *testing.T, server string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["a"], config.Contexts["a"], config.CurrentContext = &clientcmdapi.Cluster{Server: server}, &clientcmdapi.Context{Cluster: "a"}, "a"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWrong(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reason  string
		options audit.Options
		want    string
	}{
		{"a rule about resources and paths", audit.Options{Settings: settings(func(a *v1alpha1.Audit) {
			a.Policy.Rules = []v1alpha1.AuditRule{{
				Level: "Metadata", NonResourceURLs: []string{"/healthz"}, Resources: []v1alpha1.AuditResources{{Group: "apps"}},
			}}
		})}, "controlPlane.advanced.audit.policy.rules[0].nonResourceURLs"},
		{"no kubeconfig", audit.Options{Kubeconfig: "/nowhere", Settings: settings(func(*v1alpha1.Audit) {})}, "controlPlane.advanced.audit.webhook.secret"},
		{"a kubeconfig that is none", audit.Options{Kubeconfig: empty, Settings: settings(func(*v1alpha1.Audit) {})}, "controlPlane.advanced.audit.webhook.secret"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			if _, _, err := audit.New(c.options); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %s", err, c.want)
			}
		})
	}
}
