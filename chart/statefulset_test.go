package chart_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestStore(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	set := object[*appsv1.StatefulSet](t, mustRender(t, ch, ""), "shop")
	if len(set.Spec.VolumeClaimTemplates) != 1 || set.Spec.VolumeClaimTemplates[0].Name != "data" {
		t.Fatalf("claims %v, want one called data", set.Spec.VolumeClaimTemplates)
	}
	claim := set.Spec.VolumeClaimTemplates[0].Spec
	if claim.StorageClassName != nil {
		t.Errorf("storage class %q, want the host's default", *claim.StorageClassName)
	}
	if got := claim.Resources.Requests.Storage().String(); got != "5Gi" {
		t.Errorf("the claim asks for %s", got)
	}
	if got := set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted; got != appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
		t.Errorf("on uninstall the claim is subject to %s", got)
	}

	set = object[*appsv1.StatefulSet](t, mustRender(t, ch, toggled), "shop")
	claim = set.Spec.VolumeClaimTemplates[0].Spec
	if claim.StorageClassName == nil || *claim.StorageClassName != "fast-ssd" {
		t.Errorf("storage class %v, want fast-ssd", claim.StorageClassName)
	}
	if got := set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted; got != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Errorf("on uninstall the claim is subject to %s", got)
	}

	set = object[*appsv1.StatefulSet](t, mustRender(t, ch, emptyDir), "shop")
	if len(set.Spec.VolumeClaimTemplates) != 0 {
		t.Errorf("claims %v although they are off", set.Spec.VolumeClaimTemplates)
	}
	found := false
	for _, volume := range set.Spec.Template.Spec.Volumes {
		if volume.Name == "data" && volume.EmptyDir != nil {
			found = volume.EmptyDir.SizeLimit.String() == "1Gi"
		}
	}
	if !found {
		t.Errorf("volumes %v, want an emptyDir data of at most 1Gi", set.Spec.Template.Spec.Volumes)
	}
}

// TestResize checks that requests and limits can change without a restart.
func TestResize(t *testing.T) {
	t.Parallel()
	set := object[*appsv1.StatefulSet](t, mustRender(t, loadChart(t), ""), "shop")
	var got []corev1.ResourceName
	for _, policy := range set.Spec.Template.Spec.Containers[0].ResizePolicy {
		if policy.RestartPolicy != corev1.NotRequired {
			t.Errorf("%s: %s", policy.ResourceName, policy.RestartPolicy)
		}
		got = append(got, policy.ResourceName)
	}
	if want := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}; !cmp.Equal(want, got) {
		t.Errorf("resize policies of %v, want of %v", got, want)
	}
}

// TestNamesStayText gives objects names that YAML would read as something else.
func TestNamesStayText(t *testing.T) {
	t.Parallel()
	set := object[*appsv1.StatefulSet](t, mustRender(t, loadChart(t),
		`controlPlane: {statefulSet: {persistence: {volumeClaim: {storageClass: "true"}}, scheduling: {priorityClassName: "10"}}}`), "shop")
	if got := *set.Spec.VolumeClaimTemplates[0].Spec.StorageClassName; got != "true" {
		t.Errorf("storage class %s", got)
	}
	if got := set.Spec.Template.Spec.PriorityClassName; got != "10" {
		t.Errorf("priority class %s", got)
	}
}

func TestPod(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	set := object[*appsv1.StatefulSet](t, mustRender(t, ch, toggled), "shop")
	pod := set.Spec.Template
	container := pod.Spec.Containers[0]
	if want := "registry.example.com:5000/a/b:v9"; container.Image != want {
		t.Errorf("image %s, want %s", container.Image, want)
	}
	if want := []string{"--config=/etc/sublet/config.yaml", "--name=shop", "--namespace=tenant", "--data-dir=/data",
		"--operator-port=8444", "--advertise-address=$(POD_IP)"}; !cmp.Equal(want, container.Args) {
		t.Errorf("arguments: %s", cmp.Diff(want, container.Args))
	}
	if got := container.Resources.Limits[corev1.ResourceMemory]; got.Value() != 2<<30 {
		t.Errorf("memory limit %s, want 2Gi", got.String())
	}
	if got := pod.Labels["app.kubernetes.io/name"]; got != "sublet" {
		t.Errorf("users can take the label by which the Services find the pod: %s", got)
	}
	if pod.Labels["team"] != "b" || pod.Annotations["example.com/scrape"] != "8443" {
		t.Errorf("labels %v and annotations %v lack those of users", pod.Labels, pod.Annotations)
	}
	if group := pod.Spec.SecurityContext.FSGroup; group == nil || *group != *pod.Spec.SecurityContext.RunAsGroup {
		t.Errorf("the claim belongs to group %v, and the server cannot write to it", group)
	}
	if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Errorf("the root file system can be written to")
	}
	for name, probe := range map[string]struct {
		got    *corev1.Probe
		path   string
		period int32
	}{
		"startup":   {container.StartupProbe, "/livez", 1},
		"readiness": {container.ReadinessProbe, "/readyz", 5},
		"liveness":  {container.LivenessProbe, "/livez", 10},
	} {
		get := probe.got.HTTPGet
		if probe.got.PeriodSeconds != probe.period || get.Path != probe.path || get.Scheme != corev1.URISchemeHTTP || get.Port.StrVal != "operator" {
			t.Errorf("%s probe: %v, want plain HTTP to the operator port", name, probe.got)
		}
	}
	for _, toleration := range pod.Spec.Tolerations {
		if toleration.Key == "" {
			t.Errorf("a toleration of everything")
		}
	}
	mounts := map[string]string{}
	for _, mount := range container.VolumeMounts {
		mounts[mount.MountPath] = mount.Name
	}
	if diff := cmp.Diff(map[string]string{"/data": "data", "/etc/sublet": "config", "/tmp": "tmp"}, mounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

// TestUpgrade holds what Kubernetes does not let an upgrade change, or what an
// upgrade from an earlier chart must find again.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), "")
	set := object[*appsv1.StatefulSet](t, rendered, "shop")
	labels := map[string]string{
		"app.kubernetes.io/name": "sublet", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": "control-plane",
	}
	filesystem := corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
	}
	if set.Spec.ServiceName != "shop" || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || *set.Spec.Replicas != 1 {
		t.Errorf("service %s, policy %s, %d replicas", set.Spec.ServiceName, set.Spec.PodManagementPolicy, *set.Spec.Replicas)
	}
	if diff := cmp.Diff(labels, set.Spec.Selector.MatchLabels); diff != "" {
		t.Errorf("the selector is immutable (-want +got):\n%s", diff)
	}
	claim := set.Spec.VolumeClaimTemplates[0]
	if diff := cmp.Diff(labels, claim.Labels); diff != "" || claim.Name != "data" {
		t.Errorf("the claim %s is immutable (-want +got):\n%s", claim.Name, diff)
	}
	if diff := cmp.Diff(filesystem, claim.Spec); diff != "" {
		t.Errorf("the claim is immutable (-want +got):\n%s", diff)
	}
	if anchor := object[*corev1.ConfigMap](t, rendered, "shop-anchor"); len(anchor.Data)+len(anchor.Annotations) != 0 {
		t.Errorf("an upgrade would take what the server has written to the anchor: %v", anchor)
	}
}

func TestConfigChangeRestartsThePod(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	checksum := func(values string) string {
		set := object[*appsv1.StatefulSet](t, mustRender(t, ch, values), "shop")
		return set.Spec.Template.Annotations["checksum/config"]
	}
	if checksum("") == "" || checksum("") == checksum("logging: {verbosity: 1}") {
		t.Errorf("the pod template stays the same when the config changes")
	}
	if checksum("") != checksum("global: {a: b}") {
		t.Errorf("the pod template changes with a value that nobody reads")
	}
}

func TestAffinity(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	ours := []corev1.NodeSelectorRequirement{
		{Key: "kwok.x-k8s.io/node", Operator: corev1.NodeSelectorOpDoesNotExist},
		{Key: "type", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"kwok", "virtual-kubelet"}},
	}
	zone := func(name string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{name}}
	}
	withOwn := func(own ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: append(own, ours...)}
	}
	cases := map[string]struct {
		reason, affinity string
		want             []corev1.NodeSelectorTerm
	}{
		"none": {"the chart's own term stands alone", "{}", []corev1.NodeSelectorTerm{withOwn()}},
		"two terms": {"terms are alternatives: each has to keep simulated nodes out",
			`{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [` +
				`{matchExpressions: [{key: zone, operator: In, values: [a]}]}, {matchExpressions: [{key: zone, operator: In, values: [b]}]}]}}}`,
			[]corev1.NodeSelectorTerm{withOwn(zone("a")), withOwn(zone("b"))}},
		"fields": {"a term by field gets expressions", `{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [` +
			`{matchFields: [{key: metadata.name, operator: In, values: [one]}]}]}}}`,
			[]corev1.NodeSelectorTerm{{MatchExpressions: ours, MatchFields: []corev1.NodeSelectorRequirement{
				{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"one"}}}}}},
		"preferred": {"a preference does not replace the requirement", `{nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [` +
			`{weight: 1, preference: {matchExpressions: [{key: zone, operator: In, values: [a]}]}}]}}`, []corev1.NodeSelectorTerm{withOwn()}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := object[*appsv1.StatefulSet](t, mustRender(t, ch,
				"controlPlane: {statefulSet: {scheduling: {affinity: "+c.affinity+"}}}"), "shop")
			node := set.Spec.Template.Spec.Affinity.NodeAffinity
			if diff := cmp.Diff(c.want, node.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if name == "preferred" && len(node.PreferredDuringSchedulingIgnoredDuringExecution) != 1 {
				t.Errorf("the preference is lost")
			}
		})
	}
}

func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), "")
	for _, name := range []string{"shop", "shop-workload"} {
		account := object[*corev1.ServiceAccount](t, rendered, name)
		if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
			t.Errorf("ServiceAccount %s mounts its token by default", name)
		}
	}
	set := object[*appsv1.StatefulSet](t, rendered, "shop")
	if mount := set.Spec.Template.Spec.AutomountServiceAccountToken; mount == nil || !*mount {
		t.Errorf("the control plane gets no token")
	}
	if pod := object[*corev1.Pod](t, rendered, "shop-test-ready"); *pod.Spec.AutomountServiceAccountToken {
		t.Errorf("the pod of helm test gets a token")
	}
}
