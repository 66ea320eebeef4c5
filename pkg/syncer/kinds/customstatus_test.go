package kinds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestStatusOfPresets brings the status of a copy back, as the controllers of the presets write
// it. It has the names and namespaces that the tenant knows.
func TestStatusOfPresets(t *testing.T) {
	t.Parallel()
	cluster := translate.Cluster{UID: "uid", Name: "shop", Namespace: "tenant"}
	hashed := func(name string) string {
		return translate.Hashed(cluster, types.NamespacedName{Namespace: "web", Name: name}).Name
	}
	written := func(resource, name string) string {
		return translate.Derived(custom.ProducedRole(resource))(cluster, types.NamespacedName{Namespace: "web", Name: name}).Name
	}
	produced := written("certificates.cert-manager.io", "tls")
	missing := presetsToHost(t)
	for _, c := range []struct{ preset, resource, spec, status, want string }{
		{
			"gatewayAPI", "httproutes.gateway.networking.k8s.io", `{hostnames: [a], parentRefs: [{name: front, namespace: edge}]}`,
			`{parents: [{controllerName: example.com/gateway, parentRef: {name: public, namespace: shared, sectionName: a}, conditions: [{message: "route ` + hashed("one") + ` is public"}]}]}`,
			`{parents: [{controllerName: example.com/gateway, parentRef: {name: front, namespace: edge, sectionName: a}, conditions: [{message: "route one is public"}]}]}`,
		},
		{
			"certManager", "certificates.cert-manager.io", `{secretName: tls, issuerRef: {name: own}}`,
			`{conditions: [{message: "Secret tenant/` + produced + ` is issued by ` + hashed("own") + `"}], nextPrivateKeySecretName: ` + produced + `}`,
			`{conditions: [{message: "Secret web/tls is issued by own"}], nextPrivateKeySecretName: tls}`,
		},
		{
			"kueue", "localqueues.kueue.x-k8s.io", `{clusterQueue: batch}`,
			`{pendingWorkloads: 1, conditions: [{message: "batch is full"}]}`, `{pendingWorkloads: 1, conditions: [{message: "batch is full"}]}`,
		},
		{
			"externalSecrets", "externalsecrets.external-secrets.io", `{secretStoreRef: {name: vault, kind: ClusterSecretStore}, target: {name: db}}`,
			`{binding: {name: ` + written("externalsecrets.external-secrets.io", "db") + `}, conditions: [{message: "secret synced"}]}`,
			`{binding: {name: db}, conditions: [{message: "secret synced"}]}`,
		},
		{
			"istio", "destinationrules.networking.istio.io", `{host: reviews}`,
			`{validationMessages: [{message: "host ` + hashed("reviews") + ` is unknown"}]}`, `{validationMessages: [{message: "host reviews is unknown"}]}`,
		},
		{
			"kubeVirt", "virtualmachines.kubevirt.io", `{template: {spec: {domain: {devices: {}}, volumes: [{name: data, persistentVolumeClaim: {claimName: db}}]}}}`,
			`{printableStatus: ErrorPvcNotFound, conditions: [{message: "no claim tenant/` + hashed("db") + ` for ` + hashed("one") + `"}], volumeUpdateState: {volumeMigrationState: {migratedVolumes: [{sourcePVCInfo: {claimName: ` + hashed("db") + `}}]}}}`,
			`{printableStatus: ErrorPvcNotFound, conditions: [{message: "no claim web/db for one"}], volumeUpdateState: {volumeMigrationState: {migratedVolumes: [{sourcePVCInfo: {claimName: db}}]}}}`,
		},
		{
			"prometheusOperator", "servicemonitors.monitoring.coreos.com", `{endpoints: [{port: web}]}`,
			`{bindings: [{resource: prometheuses, name: main, namespace: tenant, conditions: [{message: "` + hashed("one") + ` is selected"}]}]}`,
			`{bindings: [{resource: prometheuses, name: main, namespace: web, conditions: [{message: "one is selected"}]}]}`,
		},
		{
			"volcano", "podgroups.scheduling.volcano.sh", `{queue: batch}`,
			`{phase: Inqueue, conditions: [{message: "batch has no room for tenant/` + hashed("one") + `"}]}`,
			`{phase: Inqueue, conditions: [{message: "batch has no room for web/one"}]}`,
		},
	} {
		delete(missing, c.preset)
		o := CustomOptions{Resource: c.resource, Cluster: cluster, Plan: presetPlan(t, c.preset, c.resource)}
		virtual := &unstructured.Unstructured{Object: map[string]any{"spec": fromYAML(t, c.spec)}}
		virtual.SetNamespace("web")
		virtual.SetName("one")
		host := &unstructured.Unstructured{Object: map[string]any{"status": fromYAML(t, c.status)}}
		if err := o.fillVirtual(syncer.Scope{Cluster: cluster}, host, virtual); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fromYAML(t, c.want), virtual.Object["status"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.resource, diff)
		}
	}
	for preset := range missing {
		t.Errorf("preset %s has no case of a status", preset)
	}
}

// presetsToHost returns the names of the presets with kinds of the tenant.
func presetsToHost(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("../../../chart/presets/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "toHost:") {
			names[strings.TrimSuffix(filepath.Base(path), ".yaml")] = true
		}
	}
	return names
}

// presetPlan returns the plan of a kind of a preset, with the schema of the tests of plans.
func presetPlan(t *testing.T, preset, resource string) *custom.Plan {
	t.Helper()
	var cases struct {
		Schemas map[string]apiextensionsv1.JSONSchemaProps
	}
	var file struct {
		Sync struct {
			ToHost struct {
				CustomResources map[string]v1alpha1.CustomResource
			}
			FromHost struct {
				CustomResources map[string]v1alpha1.HostCustomResource
			}
		}
	}
	for path, into := range map[string]any{"../../custom/testdata/presets/" + preset + ".yaml": &cases, "../../../chart/presets/" + preset + ".yaml": &file} {
		data, err := os.ReadFile(path)
		if err == nil {
			err = yaml.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	schema := cases.Schemas[resource]
	plan, err := custom.Compile(&schema, custom.Options{
		References: file.Sync.ToHost.CustomResources[resource].References,
		Synced:     func(resource string) bool { return file.Sync.ToHost.CustomResources[resource].Enabled },
		FromHost: func(resource string) *v1alpha1.HostCustomResource {
			kind := file.Sync.FromHost.CustomResources[resource]
			kind.Mappings.ByName = map[string]string{"shared/public": "edge/front"}
			return &kind
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func fromYAML(t *testing.T, text string) map[string]any {
	t.Helper()
	value := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}
