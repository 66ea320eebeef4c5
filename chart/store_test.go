package chart_test

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// TestExternalStore checks what the pod gets for a store outside of the control plane.
func TestExternalStore(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for name, tc := range map[string]struct {
		reason, settings, secret string
		port                     int32
	}{
		"Embedded": {reason: "the default needs neither", settings: "{}"},
		"Disabled": {
			reason:   "a store that is not used needs neither",
			settings: "{etcd: {external: {endpoint: 'https://etcd:2379', tls: {secret: etcd-client}}}}",
		},
		"TLS": {
			reason:   "the pod mounts the Secret and reaches the port",
			settings: "{etcd: {external: {enabled: true, endpoint: 'https://etcd-0:2379,https://etcd-1:2379', tls: {secret: etcd-client}}}}",
			secret:   "etcd-client", port: 2379,
		},
		"Plain": {
			reason:   "without TLS there is no Secret",
			settings: "{etcd: {external: {enabled: true, endpoint: 'http://[2001:db8::1]:4001'}}}", port: 4001,
		},
	} {
		rendered := mustRender(t, ch, "controlPlane: {backingStore: "+tc.settings+"}")
		pod := object[*appsv1.StatefulSet](t, rendered, "shop").Spec.Template.Spec
		secret := ""
		if i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "store" }); i >= 0 {
			secret = pod.Volumes[i].Secret.SecretName
		}
		mounted := slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == "store" && m.MountPath == "/etc/sublet-store" && m.ReadOnly
		})
		if secret != tc.secret || mounted != (tc.secret != "") {
			t.Errorf("%s: %s: Secret %q, mounted %t; want %q", name, tc.reason, secret, mounted, tc.secret)
		}
		policy := object[*networkingv1.NetworkPolicy](t, rendered, "shop-control-plane")
		for _, port := range []int32{2379, 4001} {
			open := slices.ContainsFunc(policy.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
				return hasPort(rule.Ports, port) && len(rule.To) == 0
			})
			if open != (port == tc.port) {
				t.Errorf("%s: %s: egress to port %d is %t", name, tc.reason, port, open)
			}
		}
	}
}
