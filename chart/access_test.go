package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestAuthenticationRollsNothing changes the issuers, which replicas read while they run.
func TestAuthenticationRollsNothing(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const issuer = `controlPlane: {advanced: {authentication: {jwt: [{issuer: {url: "https://login.example.com", audiences: [shop]}, ` +
		`claimMappings: {username: {claim: sub, prefix: "oidc:"}}}]}}}`
	before, after := mustRender(t, ch, ""), mustRender(t, ch, issuer)
	if diff := cmp.Diff(object[*appsv1.StatefulSet](t, before, "shop"), object[*appsv1.StatefulSet](t, after, "shop")); diff != "" {
		t.Errorf("the pods are replaced (-before +after):\n%s", diff)
	}
	if cmp.Equal(object[*corev1.Secret](t, before, "shop-config").Data, object[*corev1.Secret](t, after, "shop-config").Data) {
		t.Error("the server does not get the issuers")
	}
	audited := mustRender(t, ch, "controlPlane: {advanced: {audit: {enabled: true}}}")
	if cmp.Equal(object[*appsv1.StatefulSet](t, before, "shop").Spec.Template.Annotations, object[*appsv1.StatefulSet](t, audited, "shop").Spec.Template.Annotations) {
		t.Error("the audit policy needs a restart")
	}
}

// TestAuditWebhook mounts the Secret of the webhook only if it is used.
func TestAuditWebhook(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	for _, c := range []struct {
		reason, values string
		want           bool
	}{
		{"the audit log is on", "controlPlane: {advanced: {audit: {enabled: true, webhook: {secret: siem}}}}", true},
		{"the audit log is off", "controlPlane: {advanced: {audit: {webhook: {secret: siem}}}}", false},
		{"there is no webhook", "controlPlane: {advanced: {audit: {enabled: true}}}", false},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			pod := object[*appsv1.StatefulSet](t, mustRender(t, ch, c.values), "shop").Spec.Template.Spec
			volume := slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
				return v.Name == "audit" && v.Secret != nil && v.Secret.SecretName == "siem"
			})
			mount := slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == "audit" && m.MountPath == "/etc/sublet-audit" && m.ReadOnly
			})
			if volume != c.want || mount != c.want {
				t.Errorf("volume %t and mount %t, want %t", volume, mount, c.want)
			}
		})
	}
}
