// Package chart_test renders the chart with the code of Helm and looks at what
// comes out as an API server would: decoded, field by field.
package chart_test

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// toggled is a rendering with as much set as can be.
const toggled = `
controlPlane:
  statefulSet:
    image: {registry: "registry.example.com:5000", repository: a/b, tag: v9}
    imagePullSecrets: [{name: pull}]
    resources: {requests: {cpu: 1, ephemeral-storage: 1Gi}, limits: {cpu: "2", memory: 2147483648}}
    persistence: {volumeClaim: {size: 20Gi, storageClass: fast-ssd, accessModes: [ReadWriteOncePod], retentionPolicy: Retain}}
    scheduling:
      nodeSelector: {disk: ssd}
      tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]
      priorityClassName: high
    probes: {startupProbe: {failureThreshold: 600}}
    labels: {team: a}
    annotations: {example.com/note: "true"}
    pods: {labels: {team: b, app.kubernetes.io/name: other}, annotations: {example.com/scrape: "8443"}}
    env: [{name: HTTPS_PROXY, value: "http://proxy.example.com:3128"}]
  service: {spec: {type: LoadBalancer}, labels: {team: c}, annotations: {example.com/lb: internal}}
  proxy: {extraSANs: [shop.example.com, "2001:db8::1"]}
  advanced:
    serviceAccount: {labels: {team: d}, annotations: {example.com/role: one}}
    workloadServiceAccount: {labels: {team: e}, annotations: {example.com/role: two}, imagePullSecrets: [{name: pull}]}
sync:
  toHost: {configMaps: {all: true}, secrets: {all: true}}
  fromHost: {nodes: {selector: {all: false, labels: {tenant: shop}}}}
networking: {serviceCIDR: 10.96.0.0/12, advanced: {clusterDomain: shop.local}}
policies:
  resourceQuota:
    quota: {pods: 20, limits.memory: 40Gi, count/configmaps: null}
    scopes: [NotBestEffort]
    scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: DoesNotExist}]}
    labels: {team: f}
    annotations: {example.com/note: quota}
  limitRange: {default: {memory: 512Mi}, max: {memory: 8Gi}, labels: {team: g}}
exportKubeConfig: {context: shop, server: "https://shop.example.com"}
logging: {verbosity: 2, encoding: json}
`

// noClusterRights is a rendering whose server needs no right in the whole host.
const noClusterRights = `
sync:
  fromHost:
    nodes: {enabled: false, selector: {all: false}}
    storageClasses: {enabled: false}
`

// emptyDir is a rendering without a claim.
const emptyDir = `
controlPlane: {statefulSet: {persistence: {volumeClaim: {enabled: false, size: 1Gi}}}}
`

func TestObjects(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	all := []string{
		"ClusterRole/sublet:tenant:shop", "ClusterRoleBinding/sublet:tenant:shop", "ConfigMap/shop-anchor",
		"LimitRange/shop",
		"NetworkPolicy/shop-control-plane", "NetworkPolicy/shop-workload", "NetworkPolicy/shop-workload-egress", "NetworkPolicy/shop-workload-ingress",
		"Pod/shop-test-network", "Pod/shop-test-ready", "ResourceQuota/shop-objects", "ResourceQuota/shop-pods", "Role/shop", "RoleBinding/shop", "Secret/shop-config", "Service/shop",
		"Service/shop-dns", "Service/shop-operator", "Service/shop-peer-0", "Service/shop-peer-1", "Service/shop-peer-2", "Service/shop-peer-3", "Service/shop-peer-4", "ServiceAccount/shop", "ServiceAccount/shop-workload", "StatefulSet/shop",
		"ValidatingAdmissionPolicy/shop.tenant.sublet.dev", "ValidatingAdmissionPolicyBinding/shop.tenant.sublet.dev",
	}
	scoped := slices.Clone(all) // The quota of pods has a name of its own.
	scoped[slices.Index(all, "ResourceQuota/shop-pods")] = "ResourceQuota/shop-pods-notbesteffort"
	cases := map[string]struct {
		reason, values string
		want           []string
	}{
		"default":         {"the default shows real nodes, which needs a ClusterRole", "", all},
		"toggled":         {"settings change objects, not which there are", toggled, scoped},
		"noClusterRights": {"nothing outside of the namespace without the settings that need it", noClusterRights, all[2 : len(all)-2]},
		"emptyDir":        {"a store in an emptyDir needs no object", emptyDir, all},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := slices.Sorted(maps.Keys(mustRender(t, ch, c.values).objects))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// TestReleaseName checks that a name which cannot work is refused before anything
// is installed.
func TestReleaseName(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for name, good := range map[string]bool{
		"shop": true, "a": true, "a-1": true, strings.Repeat("a", 52): true,
		strings.Repeat("a", 53): false, "1shop": false, "shop.eu": false,
	} {
		_, err := renderAs(ch, name, nil)
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), `the name of the release is "`+name+`"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for _, values := range []string{"", toggled} {
		for key, object := range mustRender(t, ch, values).objects {
			if namespace := object.GetNamespace(); namespace != "tenant" && !strings.HasPrefix(key, "Cluster") && !strings.HasPrefix(key, "ValidatingAdmission") {
				t.Errorf("%s is in namespace %q", key, namespace)
			}
			for _, label := range []string{"name", "instance", "version", "component", "part-of", "managed-by"} {
				if object.GetLabels()["app.kubernetes.io/"+label] == "" {
					t.Errorf("%s has no label app.kubernetes.io/%s", key, label)
				}
			}
		}
	}
}

func TestDeterministic(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"", toggled, noClusterRights} {
		first, second := mustRender(t, loadChart(t), values), mustRender(t, loadChart(t), values)
		if diff := cmp.Diff(first.text, second.text); diff != "" {
			t.Errorf("two renderings of the same values differ:\n%s", diff)
		}
	}
	random := regexp.MustCompile(`\b(lookup|now|date|rand\w+|gen[A-Z]\w+|uuidv4|derivePassword|getHostByName|bcrypt|htpasswd|shuffle)\b`)
	templates, err := filepath.Glob("templates/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range templates {
		if filepath.Ext(file) == "" {
			continue
		}
		// An upgrade must not undo what the load has asked for. It is refused if it changes claims, also that of backups, or may cost the
		// store its majority. There is no other exception.
		text := readFile(t, file)
		for _, exception := range []string{
			`{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace .Release.Name -}}`,
			`{{- $live := lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "%s-backup" .Release.Name) -}}`,
			`{{- else if lookup "v1" "Pod" .Release.Namespace (printf "%s-1" .Release.Name) -}}`,
		} {
			text = strings.Replace(text, exception, "", 1)
		}
		for action := range strings.SplitSeq(text, "{{") {
			code, _, _ := strings.Cut(action, "}}")
			if found := random.FindString(code); found != "" && !strings.HasPrefix(code, "- /*") && strings.Contains(action, "}}") {
				t.Errorf("%s uses %s, which may render something else the next time", file, found)
			}
		}
	}
}

func TestServicesFindThePod(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), toggled)
	set := object[*appsv1.StatefulSet](t, rendered, "shop")
	pod := set.Spec.Template
	ports := map[string]int32{}
	for _, port := range pod.Spec.Containers[0].Ports {
		ports[port.Name] = port.ContainerPort
	}
	want := map[string]map[string][2]int32{
		"shop":          {"https": {443, 8443}},
		"shop-dns":      {"dns": {53, 1053}, "dns-tcp": {53, 1053}},
		"shop-operator": {"operator": {8444, 8444}},
	}
	for name, wantPorts := range want {
		service := object[*corev1.Service](t, rendered, name)
		if got := service.Spec.Selector[appsv1.StatefulSetPodNameLabel]; got != "shop-0" {
			t.Errorf("Service %s also leads to a second replica, which has another store: %q", name, got)
		}
		delete(service.Spec.Selector, appsv1.StatefulSetPodNameLabel) // the StatefulSet sets it
		for key, value := range service.Spec.Selector {
			if pod.Labels[key] != value {
				t.Errorf("Service %s selects %s=%s, but the pod has %q", name, key, value, pod.Labels[key])
			}
			if test := object[*corev1.Pod](t, rendered, "shop-test-ready"); key == "app.kubernetes.io/component" && test.Labels[key] == value {
				t.Errorf("Service %s selects the pod of helm test", name)
			}
		}
		got := map[string][2]int32{}
		for _, port := range service.Spec.Ports {
			got[port.Name] = [2]int32{port.Port, ports[port.TargetPort.StrVal]}
		}
		if diff := cmp.Diff(wantPorts, got); diff != "" {
			t.Errorf("ports of Service %s (-want +got):\n%s", name, diff)
		}
	}
	if got := object[*corev1.Service](t, rendered, "shop").Spec.Type; got != corev1.ServiceTypeLoadBalancer {
		t.Errorf("the Service is a %s", got)
	}
	for _, name := range []string{"shop-dns", "shop-operator"} {
		if got := object[*corev1.Service](t, rendered, name).Spec.Type; got != corev1.ServiceTypeClusterIP {
			t.Errorf("Service %s is a %s", name, got)
		}
	}
}

// TestConfig checks that the server reads what Helm was given.
func TestConfig(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for name, values := range map[string]string{"default": "", "toggled": toggled, "part of another chart": "global: {a: b}"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := parsedFrom(t, mustRender(t, ch, values))
			text := values
			if strings.HasPrefix(text, "global") {
				text = ""
			}
			want, err := config.Parse([]byte(text), kinds.Settings()...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what the server reads (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValuesAreTheDefaults(t *testing.T) {
	t.Parallel()
	got := parsedFrom(t, mustRender(t, loadChart(t), readFile(t, "values.yaml")))
	if diff := cmp.Diff(v1alpha1.Default(kinds.Settings()...), got); diff != "" {
		t.Errorf("values.yaml (-default +got):\n%s", diff)
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	role := object[*rbacv1.Role](t, mustRender(t, ch, ""), "shop")
	for _, rule := range role.Rules {
		for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
			if slices.Contains(list, "*") {
				t.Errorf("the Role has a wildcard: %v", rule)
			}
		}
	}
	for _, right := range []struct{ verb, resource, reason string }{
		{"create", "pods", "pods are always synced"},
		{"delete", "pods", "pods are always synced"},
		{"create", "pods/exec", "SPDY asks with POST"},
		{"get", "pods/exec", "WebSocket asks with GET"},
		{"get", "pods/log", "kubectl logs"},
		{"patch", "pods/ephemeralcontainers", "kubectl debug"},
		{"watch", "events", "events are synced by default"},
		{"create", "events", "the server records Events on its anchor"},
		{"create", "secrets", "the server keeps its keys in one"},
	} {
		if !allow(role.Rules, right.verb, right.resource) {
			t.Errorf("the Role does not allow %s %s: %s", right.verb, right.resource, right.reason)
		}
	}
	for values, denied := range map[string]string{
		"sync: {toHost: {services: {enabled: false}, endpointSlices: {enabled: false}}}": "services",
		"sync: {toHost: {persistentVolumeClaims: {enabled: false}}}":                     "persistentvolumeclaims",
		"sync: {fromHost: {events: {enabled: false}}}":                                   "events",
		"policies: {resourceQuota: {enabled: false}}":                                    "resourcequotas",
		"policies: {limitRange: {enabled: false}, resourceQuota: {enabled: false}}":      "limitranges",
	} {
		if rules := object[*rbacv1.Role](t, mustRender(t, ch, values), "shop").Rules; allow(rules, "watch", denied) {
			t.Errorf("with %s the Role still allows to watch %s", values, denied)
		}
	}
}

func TestClusterRights(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	cases := map[string]struct {
		reason, values string
		want           []string
	}{
		"default": {"nodes and storage classes to show, the range of Services to find out", "",
			[]string{"nodes get list watch", "servicecidrs get", "storageclasses get list watch"}},
		"range given": {"a range that is given need not be found out", "networking: {serviceCIDR: 10.96.0.0/12}",
			[]string{"nodes get list watch", "storageclasses get list watch"}},
		"pseudo nodes": {"nodes that are not shown need not be read",
			"sync: {fromHost: {nodes: {enabled: false}}}", []string{"servicecidrs get", "storageclasses get list watch"}},
		"no classes": {"classes that are not shown need not be read",
			"sync: {fromHost: {storageClasses: {enabled: false}}}", []string{"nodes get list watch", "servicecidrs get"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			role := object[*rbacv1.ClusterRole](t, mustRender(t, ch, c.values), "sublet:tenant:shop")
			var got []string
			for _, rule := range role.Rules {
				got = append(got, strings.Join(append(slices.Clone(rule.Resources), slices.Sorted(slices.Values(rule.Verbs))...), " "))
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// allow reports whether rules allow a verb for all objects of a resource.
func allow(rules []rbacv1.PolicyRule, verb, resource string) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return len(rule.ResourceNames) == 0 && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb)
	})
}
