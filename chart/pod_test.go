package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestSecurityContext leaves fields out, as OpenShift needs it, and adds others.
func TestSecurityContext(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const withDNS = "controlPlane: {coredns: {replicas: 2}, statefulSet: {security: "
	id := int64(65532)
	for _, c := range []struct {
		reason, security string
		user, group      *int64
		readOnly         bool
	}{
		{"the default", "{}", &id, &id, true},
		{"no fixed user", "{podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}}", nil, nil, true},
		{"another field", "{containerSecurityContext: {readOnlyRootFilesystem: false}}", &id, &id, false},
	} {
		rendered := mustRender(t, ch, withDNS+c.security+"}}")
		pods := map[string]corev1.PodSpec{
			"control plane": object[*appsv1.StatefulSet](t, rendered, "shop").Spec.Template.Spec,
			"DNS":           object[*appsv1.Deployment](t, rendered, "shop-dns").Spec.Template.Spec,
		}
		for name, pod := range pods {
			got := pod.SecurityContext
			if !cmp.Equal(c.user, got.RunAsUser) || !cmp.Equal(c.group, got.FSGroup) || got.RunAsNonRoot == nil || !*got.RunAsNonRoot || got.SeccompProfile == nil {
				t.Errorf("%s, pods of the %s: %+v", c.reason, name, got)
			}
			if container := pod.Containers[0].SecurityContext; *container.ReadOnlyRootFilesystem != c.readOnly || *container.AllowPrivilegeEscalation {
				t.Errorf("%s, containers of the %s: %+v", c.reason, name, container)
			}
		}
	}
}

// TestFurtherOfPod adds variables and volumes.
func TestFurtherOfPod(t *testing.T) {
	t.Parallel()
	pod := object[*appsv1.StatefulSet](t, mustRender(t, loadChart(t), `
controlPlane:
  statefulSet:
    env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
    persistence:
      addVolumes: [{name: trust, secret: {secretName: trust}}]
      addVolumeMounts: [{name: trust, mountPath: /etc/ssl/certs, readOnly: true}]
`), "shop").Spec.Template.Spec
	container := pod.Containers[0]
	values := map[string]string{}
	for _, variable := range container.Env {
		if _, twice := values[variable.Name]; twice {
			t.Errorf("%s is there twice: a server-side apply fails", variable.Name)
		}
		values[variable.Name] = variable.Value
		if variable.ValueFrom != nil {
			values[variable.Name] = variable.ValueFrom.String()
		}
	}
	if values["HTTPS_PROXY"] != "http://proxy:3128" || values["POD_NAME"] == "" {
		t.Errorf("variables %v", values)
	}
	isTrust := func(mount corev1.VolumeMount) bool {
		return mount.Name == "trust" && mount.MountPath == "/etc/ssl/certs" && mount.ReadOnly
	}
	hasTrust := func(volume corev1.Volume) bool {
		return volume.Name == "trust" && volume.Secret != nil && volume.Secret.SecretName == "trust"
	}
	if !slices.ContainsFunc(container.VolumeMounts, isTrust) || !slices.ContainsFunc(pod.Volumes, hasTrust) {
		t.Errorf("mounts %v of volumes %v", container.VolumeMounts, pod.Volumes)
	}
}

// TestSidecars adds containers behind that of the chart. One without a security context has that of the settings.
func TestSidecars(t *testing.T) {
	t.Parallel()
	containers := object[*appsv1.StatefulSet](t, mustRender(t, loadChart(t), `
controlPlane:
  statefulSet:
    sidecarContainers:
    - {name: proxy, image: "example.com/proxy:1", args: [run], volumeMounts: [{name: tmp, mountPath: /tmp}]}
    - {name: agent, image: "example.com/agent:1", securityContext: {runAsNonRoot: true}}
`), "shop").Spec.Template.Spec.Containers
	if len(containers) != 3 || containers[0].Name != "sublet" || containers[1].Name != "proxy" || containers[2].Name != "agent" {
		t.Fatalf("containers %v", containers)
	}
	if diff := cmp.Diff(containers[0].SecurityContext, containers[1].SecurityContext); diff != "" || len(containers[1].Args) != 1 {
		t.Errorf("proxy is %+v; security context (-sublet +proxy):\n%s", containers[1], diff)
	}
	if own := containers[2].SecurityContext; own == nil || own.Capabilities != nil || !*own.RunAsNonRoot {
		t.Errorf("the security context of agent is %v", own)
	}
}

// TestPodSettings passes settings of the pod on as they are.
func TestPodSettings(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	pod := object[*appsv1.StatefulSet](t, mustRender(t, ch, `
controlPlane:
  statefulSet:
    initContainers: [{name: wait, image: "example.com/wait:1"}]
    hostAliases: [{ip: 192.0.2.1, hostnames: [etcd.example.com]}]
    dnsPolicy: None
    dnsConfig: {nameservers: [192.0.2.53], options: [{name: ndots, value: "1"}]}
    runtimeClassName: gvisor
    scheduling:
      topologySpreadConstraints:
      - {topologyKey: rack, maxSkew: 2, whenUnsatisfiable: DoNotSchedule}
      - {topologyKey: row, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {a: b}}}
`), "shop").Spec.Template.Spec
	if len(pod.InitContainers) != 1 || !cmp.Equal(pod.InitContainers[0].SecurityContext, pod.Containers[0].SecurityContext) || len(pod.Containers) != 1 {
		t.Errorf("init containers %+v", pod.InitContainers)
	}
	if len(pod.HostAliases) != 1 || pod.HostAliases[0].Hostnames[0] != "etcd.example.com" {
		t.Errorf("host aliases %v", pod.HostAliases)
	}
	if pod.DNSPolicy != corev1.DNSNone || pod.DNSConfig.Nameservers[0] != "192.0.2.53" || *pod.DNSConfig.Options[0].Value != "1" {
		t.Errorf("DNS policy %s with %v", pod.DNSPolicy, pod.DNSConfig)
	}
	if pod.RuntimeClassName == nil || *pod.RuntimeClassName != "gvisor" {
		t.Errorf("runtime class %v", pod.RuntimeClassName)
	}
	zones := object[*appsv1.StatefulSet](t, mustRender(t, ch, ""), "shop").Spec.Template.Spec.TopologySpreadConstraints
	spread := pod.TopologySpreadConstraints
	if len(zones) != 1 || zones[0].TopologyKey != corev1.LabelTopologyZone || len(spread) != 2 || spread[0].TopologyKey != "rack" || spread[0].MaxSkew != 2 {
		t.Fatalf("they spread by %v, and by default by %v", spread, zones)
	}
	if !cmp.Equal(spread[0].LabelSelector, zones[0].LabelSelector) || spread[1].LabelSelector.MatchLabels["a"] != "b" || len(spread[1].LabelSelector.MatchLabels) != 1 {
		t.Errorf("the selectors are %v and %v", spread[0].LabelSelector, spread[1].LabelSelector)
	}
}

// TestServiceMonitor compares what a Prometheus Operator needs with what the chart and the server have.
func TestServiceMonitor(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	if _, exists := mustRender(t, ch, "").objects["ServiceMonitor/shop"]; exists {
		t.Error("a ServiceMonitor by default: hosts without the CRD refuse it")
	}
	rendered := mustRender(t, ch, "controlPlane: {serviceMonitor: {enabled: true, labels: {prometheus: main}}}")
	monitor := object[*unstructured.Unstructured](t, rendered, "shop")
	if monitor.GetAPIVersion() != "monitoring.coreos.com/v1" || monitor.GetLabels()["prometheus"] != "main" {
		t.Errorf("%s with labels %v", monitor.GetAPIVersion(), monitor.GetLabels())
	}
	selector, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	service := object[*corev1.Service](t, rendered, "shop-operator")
	for key, value := range selector {
		if service.Labels[key] != value {
			t.Errorf("the selector %s=%s does not fit the Service: %v", key, value, service.Labels)
		}
	}
	endpoints, _, _ := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	want := []any{map[string]any{
		"port": service.Spec.Ports[0].Name, "path": "/metrics", "scheme": "https",
		"authorization": map[string]any{"type": "Bearer", "credentials": map[string]any{"name": "shop-operator", "key": "token"}},
		"tlsConfig": map[string]any{
			"serverName": "shop-operator.tenant.svc",
			"ca":         map[string]any{"secret": map[string]any{"name": "shop-operator", "key": "ca.crt"}},
		},
	}}
	if diff := cmp.Diff(want, endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

// TestMetadataOfAllPods gives all pods of the chart the labels that a host asks for, and the annotations that keep a
// mesh out.
func TestMetadataOfAllPods(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), `
controlPlane:
  coredns: {replicas: 2}
  statefulSet:
    pods: {labels: {team: shop, app.kubernetes.io/name: other}, annotations: {sidecar.istio.io/inject: "false", helm.sh/hook: post-delete}}
sync: {toHost: {pods: {patches: [{path: spec.hostname, expression: '"a"'}]}}}
`)
	pods := map[string]metav1.ObjectMeta{"shop-dns": object[*appsv1.Deployment](t, rendered, "shop-dns").Spec.Template.ObjectMeta}
	for _, name := range []string{"shop-check", "shop-test-ready", "shop-test-network"} {
		pods[name] = object[*corev1.Pod](t, rendered, name).ObjectMeta
		if hook := pods[name].Annotations["helm.sh/hook"]; hook == "post-delete" {
			t.Errorf("pod %s has the hook of the settings", name)
		}
	}
	for name, meta := range pods {
		if meta.Labels["team"] != "shop" || meta.Labels["app.kubernetes.io/name"] != "sublet" || meta.Annotations["sidecar.istio.io/inject"] != "false" {
			t.Errorf("pod %s has labels %v and annotations %v", name, meta.Labels, meta.Annotations)
		}
	}
}
