package chart_test

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestUpgradeKeepsMajority upgrades a release of several members to one. Alone, that is safe: they leave one
// after the other. With a change that restarts the last one meanwhile, it is not.
func TestUpgradeKeepsMajority(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const (
		three    = "controlPlane: {statefulSet: {highAvailability: {replicas: 3}}}"
		one      = "controlPlane: {statefulSet: {highAvailability: {replicas: 1}}}"
		external = `backingStore: {etcd: {external: {enabled: true, endpoint: "https://etcd.example.com:2379"}}}`
		louder   = "\nlogging: {verbosity: 2}"
		refused  = "kubectl -n tenant scale statefulset shop --replicas=1"
	)
	for _, c := range []struct {
		name, before, after string
		spec, status        int32 // replicas of the StatefulSet
		want                string
	}{
		{"to one", three, one, 3, 3, ""},
		{"to one, and another setting", three, one + louder, 3, 3, refused},
		{"to one, and another image", three, "controlPlane: {statefulSet: {highAvailability: {replicas: 1}, image: {tag: next}}}", 3, 3, refused},
		{"switched off, and another setting", three, "controlPlane: {statefulSet: {highAvailability: {enabled: false, replicas: 3}}}" + louder, 3, 3, refused},
		{"scaled by hand, and another setting", "", louder, 3, 3, refused},
		{"two still leave", three, louder, 1, 3, refused},
		{"scaled to one before", three, one + louder, 1, 1, ""},
		{"the same number, and another setting", three, three + louder, 3, 3, ""},
		{"from one to three, and another setting", one, three + louder, 1, 1, ""},
		{"stopped, and another setting", one, one + louder, 0, 0, ""},
		{
			"to one with an external etcd, and another setting", "controlPlane: {" + external + ", statefulSet: {highAvailability: {replicas: 3}}}",
			"controlPlane: {" + external + "}" + louder, 3, 3, "",
		},
	} {
		live := object[*appsv1.StatefulSet](t, mustRender(t, ch, c.before), "shop")
		live.Spec.Replicas, live.Status.Replicas = &c.spec, c.status
		err := upgrade(t, live, c.after)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// TestUpgradeKeepsMajorityOfOrphans enlarges the claim of a release whose StatefulSet is deleted for that.
// Its pods run on, so that the upgrade must not leave one of several.
func TestUpgradeKeepsMajorityOfOrphans(t *testing.T) {
	t.Parallel()
	const (
		replicas = "controlPlane: {statefulSet: {persistence: {volumeClaim: {size: 10Gi}}, highAvailability: {replicas: %d}}}"
		external = `
controlPlane:
  statefulSet: {persistence: {volumeClaim: {size: 10Gi}}}
  backingStore: {etcd: {external: {enabled: true, endpoint: "https://etcd.example.com:2379"}}}
`
		refused = "highAvailability.replicas: Invalid value: 1: pod shop-1 runs, "
	)
	for _, c := range []struct{ name, pod, after, want string }{
		{"one of several", "shop-1", fmt.Sprintf(replicas, 1), refused},
		{"all of several", "shop-1", fmt.Sprintf(replicas, 3), ""},
		{"the only one", "shop-0", fmt.Sprintf(replicas, 1), ""},
		{"one of several with an external etcd", "shop-1", external, ""},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: c.pod}}
		err := upgradeOn(t, hostOf{objects: []runtime.Object{pod}}, c.after)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
