package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestNodeConnect checks which ports of a node a tenant may reach through its proxy.
func TestNodeConnect(t *testing.T) {
	t.Parallel()
	plugin := Policy(PolicyOptions{Checks: PolicyChecks(v1alpha1.Default(), nil)})
	texts := map[string]string{}
	for _, c := range []struct {
		reason, name string
		denied       bool
	}{
		{"the node proxy answers for the kubelet", "worker-1", false},
		{"with its port too", "https:worker-1:10250", false},
		{"a scheme alone names no port", "https:worker-1:", false},
		{"metrics of the node", "http:worker-1:9100", true},
		{"the read-only port of the kubelet", "worker-1:10255", true},
		{"the host's API server", "https:worker-1:6443", true},
		{"a port by name", "worker-1:ssh", true},
	} {
		a := admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{}, "", c.name, corev1.SchemeGroupVersion.WithResource("nodes"),
			"proxy", admission.Connect, nil, false, nil)
		err := plugin.Validate(t.Context(), a, nil)
		if (err != nil) != c.denied {
			t.Errorf("%s: %s: denied is %v, want %t", c.reason, c.name, err, c.denied)
		}
		if err != nil {
			texts[c.name] = err.Error()
		}
	}
	checkGolden(t, "nodes.txt", texts)
}
