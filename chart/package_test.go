package chart_test

import (
	"strings"
	"testing"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	appsv1 "k8s.io/api/apps/v1"
)

// TestGolden shows in testdata what a change of the templates does.
func TestGolden(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for name, values := range map[string]string{"default": "", "toggled": toggled} {
		compareGolden(t, "testdata/"+name+".yaml", withoutConfig(mustRender(t, ch, values)))
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"", toggled} {
		for _, message := range lint.RunAll(".", parse(t, values), "tenant").Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("helm lint: %s", message)
			}
		}
	}
}

// TestPackage checks that nothing but the chart is in the chart.
func TestPackage(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for _, file := range ch.Files {
		if file.Name != ".helmignore" && !strings.HasPrefix(file.Name, "presets/") {
			t.Errorf("%s is packaged with the chart", file.Name)
		}
	}
	if len(ch.Schema) == 0 {
		t.Errorf("the chart has no schema")
	}
}

// TestDependency renders the chart as a part of another, where Helm adds values.
func TestDependency(t *testing.T) {
	t.Parallel()
	parent := &chart.Chart{
		Metadata: &chart.Metadata{APIVersion: chart.APIVersionV2, Name: "parent", Version: "1.0.0"},
		Values:   map[string]any{"global": map[string]any{"registry": "x"}},
	}
	parent.AddDependency(loadChart(t))
	rendered, err := render(parent, map[string]any{"sublet": map[string]any{"logging": map[string]any{"verbosity": 2}}})
	if err != nil {
		t.Fatal(err)
	}
	object[*appsv1.StatefulSet](t, rendered, "shop")
	_, err = render(parent, map[string]any{"sublet": map[string]any{"login": map[string]any{}}})
	if err == nil || !strings.Contains(err.Error(), "login") {
		t.Errorf("an unknown key: %v", err)
	}
}

// TestNotes checks what the notes ask people to copy and paste.
func TestNotes(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	cases := map[string]struct {
		reason, values string
		want, wantNot  []string
	}{
		"default": {"the address inside of the host is of no use outside", "", []string{
			"kubectl -n tenant rollout status statefulset/shop --timeout=5m",
			"kubectl -n tenant get secret shop-kubeconfig -o 'go-template={{.data.config | base64decode}}' > shop.kubeconfig",
			"kubectl -n tenant port-forward service/shop 8443:443",
			"kubectl --kubeconfig shop.kubeconfig --server https://localhost:8443 get nodes",
			"and its store.",
		}, []string{"than by default"}},
		"weakened": {"settings that let the tenant do more on the host are named", `
policies:
  podSecurityStandard: privileged
  pods: {volumeTypes: [emptyDir, hostPath], tolerations: ["*"], csiDrivers: [csi.example.com], hostPorts: ["80"]}
  networkPolicy: {enabled: false}
sync: {fromHost: {nodes: {hideControlPlane: false}}}
`, []string{
			"than by default:\n\n- policies.podSecurityStandard is privileged: a pod can become root on its node.\n- policies.pods.volumeTypes has hostPath",
			"policies.pods.csiDrivers has csi.example.com", "policies.pods.hostPorts has 80", "policies.pods.tolerations has *",
			"sync.fromHost.nodes.hideControlPlane is false", "policies.networkPolicy.enabled is false: pods reach other tenants, nodes and the API of the host.\n\n",
		}, []string{"has emptyDir"}},
		"toggled": {"with a server, nothing is forwarded, and a kept claim is named", toggled, []string{
			"Work with it at https://shop.example.com:",
			"kubectl --kubeconfig shop.kubeconfig get nodes",
			"except for the\nclaim data-shop-0", "service/shop-operator 8444",
		}, []string{"port-forward service/shop 8443", "--server https://localhost"}},
		"emptyDir": {"there is no claim to speak of", emptyDir, []string{"all that it runs.\n"}, []string{"claim"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			notes := mustRender(t, ch, c.values).text["sublet/templates/NOTES.txt"]
			for _, want := range c.want {
				if !strings.Contains(notes, want) {
					t.Errorf("%s: the notes do not say %q:\n%s", c.reason, want, notes)
				}
			}
			for _, wantNot := range c.wantNot {
				if strings.Contains(notes, wantNot) {
					t.Errorf("%s: the notes say %q:\n%s", c.reason, wantNot, notes)
				}
			}
			if strings.Contains(notes, "\n\n\n") {
				t.Errorf("the notes have gaps:\n%s", notes)
			}
		})
	}
}
