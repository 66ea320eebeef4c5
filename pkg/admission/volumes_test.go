package admission

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
)

// withClaims returns the default settings, with claims and classes synced.
func withClaims(change func(*v1alpha1.Config)) *v1alpha1.Config {
	settings := v1alpha1.Default(
		v1alpha1.Kind{Setting: "sync.toHost.persistentVolumeClaims", Enabled: true},
		v1alpha1.Kind{Setting: "sync.fromHost.storageClasses", Enabled: true},
	)
	if change != nil {
		change(settings)
	}
	return settings
}

// hostClasses returns a host with a default class, another, and one of volumes by hand.
func hostClasses() fakeView {
	class := func(name, provisioner string, annotations map[string]string) storagev1.StorageClass {
		return storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Provisioner: provisioner}
	}
	return fakeView{classes: []storagev1.StorageClass{
		class("fast", "example.com/ssd", map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}),
		class("slow", "example.com/disk", nil), class("by-hand", "kubernetes.io/no-provisioner", nil),
	}}
}

// claim returns a claim of a class, with a change.
func claim(class string, change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: &class},
	}
	if change != nil {
		change(c)
	}
	return c
}

// addSelector adds a selector of volumes by label.
func addSelector(c *corev1.PersistentVolumeClaim) {
	c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "another"}}
}

func TestClaimPolicy(t *testing.T) {
	t.Parallel()
	static := func(s *v1alpha1.Config) { s.Policies.Volumes.StaticClasses = []string{"by-hand", "manual"} }
	noClasses := func(s *v1alpha1.Config) { s.Sync.Kinds["sync.fromHost.storageClasses"] = v1alpha1.KindSettings{} }
	snapshots, other := "snapshot.storage.k8s.io", "other"
	fromSource := func(group *string, kind string, namespace *string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: group, Kind: kind, Name: "old", Namespace: namespace}
		}
	}
	for _, test := range []struct {
		reason   string
		settings func(*v1alpha1.Config)
		old, now *corev1.PersistentVolumeClaim
		denial   string // the golden file, empty for none
	}{
		{reason: "a class of the host", now: claim("slow", nil)},
		{reason: "the older form of the class", now: claim("", func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "slow"}
		})},
		{reason: "a clone", now: claim("slow", fromSource(nil, "PersistentVolumeClaim", nil))},
		{reason: "a class of volumes by hand", settings: static, now: claim("by-hand", addSelector)},
		{reason: "one that is no object on the host", settings: static, now: claim("manual", nil)},
		{reason: "a static volume of others, by label", now: claim("", addSelector), denial: "claim-empty-class"},
		{reason: "a selector with a class", now: claim("slow", addSelector), denial: "claim-selector"},
		{reason: "a class that is not shown", now: claim("secret", nil), denial: "claim-class"},
		{reason: "the older form is checked too", now: claim("slow", func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "secret"}
		}), denial: "claim-class-annotation"},
		{reason: "volumes by hand", now: claim("by-hand", nil), denial: "claim-by-hand"},
		{reason: "no default class", now: claim("", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }), denial: "claim-no-class"},
		{reason: "classes are not synced", settings: noClasses, now: claim("slow", nil), denial: "claim-classes-off"},
		{reason: "a volume of others by name", now: claim("slow", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pv-7" }), denial: "claim-volume-name"},
		{
			reason: "or later", old: claim("slow", nil),
			now: claim("slow", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pv-7" }), denial: "claim-volume-name-update",
		},
		{reason: "a snapshot", now: claim("slow", fromSource(&snapshots, "VolumeSnapshot", nil)), denial: "claim-snapshot"},
		{reason: "a snapshot that the host has", settings: withSnapshots, now: claim("slow", fromSource(&snapshots, "VolumeSnapshot", nil))},
		{reason: "a kind of snapshots that it has not", settings: withSnapshots, now: claim("slow", fromSource(&snapshots, "VolumeGroupSnapshot", nil)), denial: "claim-group-snapshot"},
		{
			reason: "a snapshot of another namespace", settings: withSnapshots,
			now: claim("slow", fromSource(&snapshots, "VolumeSnapshot", &other)), denial: "claim-snapshot-other-namespace",
		},
		{reason: "data of another namespace", now: claim("slow", fromSource(nil, "PersistentVolumeClaim", &other)), denial: "claim-other-namespace"},
		{
			reason: "a class of attributes", now: claim("slow", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = new("gold") }),
			denial: "claim-attributes",
		},
		{
			reason: "an old claim grows although its class is gone", old: claim("gone", nil),
			now: claim("gone", func(c *corev1.PersistentVolumeClaim) { c.Labels = map[string]string{"a": "b"} }),
		},
	} {
		var old runtime.Object
		if test.old != nil {
			old = test.old
		}
		err := askPolicies(t, withClaims(test.settings), hostClasses(), corev1.Resource("persistentvolumeclaims"), "PersistentVolumeClaim", old, test.now)
		switch {
		case test.denial != "":
			equalDenial(t, test.denial, err)
		case err != nil:
			t.Errorf("%s: %v", test.reason, err)
		}
	}
	err := askPolicies(t, withClaims(nil), fakeView{err: errors.New("away")}, corev1.Resource("persistentvolumeclaims"),
		"PersistentVolumeClaim", nil, claim("slow", nil))
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a host that is not known yet: got %v, want 503", err)
	}
}

func TestClaimTemplates(t *testing.T) {
	t.Parallel()
	ephemeral := func(spec corev1.PersistentVolumeClaimSpec) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{
			{Name: "plain", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
				VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: spec},
			}}},
		}}}
	}
	pods := corev1.Resource("pods")
	if err := askPolicies(t, withClaims(nil), hostClasses(), pods, "Pod", nil, ephemeral(corev1.PersistentVolumeClaimSpec{})); err != nil {
		t.Errorf("an ephemeral volume of the default class: %v", err)
	}
	err := askPolicies(t, withClaims(nil), hostClasses(), pods, "Pod", nil, ephemeral(claim("", addSelector).Spec))
	equalDenial(t, "pod-ephemeral-class", err)
	noDefault := hostClasses()
	noDefault.classes = noDefault.classes[1:]
	err = askPolicies(t, withClaims(nil), noDefault, pods, "Pod", nil, ephemeral(corev1.PersistentVolumeClaimSpec{}))
	equalDenial(t, "pod-ephemeral-no-class", err)

	set := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*claim("secret", nil)}}}
	c := PolicyChecks(withClaims(nil), hostClasses())[appsv1.Resource("statefulsets")]
	a := admission.NewAttributesRecord(set, nil, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "shop", "db",
		appsv1.SchemeGroupVersion.WithResource("statefulsets"), "", admission.Create, nil, false, &user.DefaultInfo{})
	decision, err := c(t.Context(), a, nil)
	if err != nil || len(decision.Violations) > 0 || len(decision.Warnings) == 0 {
		t.Errorf("a template warns and passes: got %+v, %v", decision, err)
	}
}

func TestVolumePolicy(t *testing.T) {
	t.Parallel()
	volume := func(change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1", Annotations: map[string]string{labels.HostUID: "u"}}}
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		if change != nil {
			change(v)
		}
		return v
	}
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast", Annotations: map[string]string{labels.HostUID: "u"}}}
	own := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}
	volumes, classes := corev1.Resource("persistentvolumes"), storagev1.Resource("storageclasses")
	for _, test := range []struct {
		reason   string
		resource schema.GroupResource
		old, now runtime.Object
		denial   string
		allowed  bool // sync.toHost.persistentVolumes
	}{
		{
			reason: "keep the data, where that is allowed", resource: volumes, old: volume(nil), allowed: true,
			now: volume(func(v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
			}),
		},
		{
			reason: "a policy that hosts no longer have", resource: volumes, old: volume(nil), allowed: true, denial: "volume-recycle",
			now: volume(func(v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRecycle
			}),
		},
		{
			reason: "another claim at the same time", resource: volumes, old: volume(nil), allowed: true, denial: "volume-spec",
			now: volume(func(v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
				v.Spec.ClaimRef = &corev1.ObjectReference{Name: "x"}
			}),
		},
		{reason: "one of one's own, where policies are allowed", resource: volumes, now: volume(nil), allowed: true, denial: "volume-create"},
		{reason: "a label", resource: volumes, old: volume(nil), now: volume(func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"a": "b"} })},
		{
			reason: "a finalizer of a controller", resource: volumes, old: volume(nil),
			now: volume(func(v *corev1.PersistentVolume) { v.Finalizers = []string{"kubernetes.io/pv-protection"} }),
		},
		{reason: "one of one's own", resource: volumes, now: volume(nil), denial: "volume-create"},
		{
			reason: "keep the data", resource: volumes, old: volume(nil), denial: "volume-reclaim-policy",
			now: volume(func(v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
			}),
		},
		{
			reason: "give it to another claim", resource: volumes, old: volume(nil), denial: "volume-spec",
			now: volume(func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = &corev1.ObjectReference{Name: "x"} }),
		},
		{
			reason: "make it nobody's", resource: volumes, old: volume(nil), denial: "volume-mark",
			now: volume(func(v *corev1.PersistentVolume) { v.Annotations = nil }),
		},
		{reason: "delete", resource: volumes, old: volume(nil), denial: "volume-delete"},
		{reason: "one from before this rule", resource: volumes, old: volume(func(v *corev1.PersistentVolume) { v.Annotations = nil })},
		{reason: "another default class", resource: classes, old: class, now: own, denial: "class-update"},
		{reason: "delete a class", resource: classes, old: class, denial: "class-delete"},
		{reason: "a class of one's own", resource: classes, now: own},
		{reason: "and its end", resource: classes, old: own},
	} {
		settings := withClaims(func(c *v1alpha1.Config) { c.Sync.ToHost.PersistentVolumes.Enabled = test.allowed })
		err := askPolicies(t, settings, hostClasses(), test.resource, "PersistentVolume", test.old, test.now)
		switch {
		case test.denial != "":
			equalDenial(t, test.denial, err)
		case err != nil:
			t.Errorf("%s: %v", test.reason, err)
		}
	}
}

// TestClaimStatus changes the annotations of claims by way of their status. One of them names the storage class.
func TestClaimStatus(t *testing.T) {
	t.Parallel()
	annotated := func(class string) *corev1.PersistentVolumeClaim {
		return claim("slow", func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: class}
		})
	}
	for name, tc := range map[string]struct {
		old, now *corev1.PersistentVolumeClaim
		denied   bool
	}{
		"Hidden":    {old: claim("slow", nil), now: annotated("secret"), denied: true},
		"Empty":     {old: claim("slow", nil), now: annotated(""), denied: true},
		"ByHand":    {old: annotated("slow"), now: annotated("by-hand"), denied: true},
		"Unnamed":   {old: annotated("slow"), now: claim("", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }), denied: true},
		"Shown":     {old: claim("slow", nil), now: annotated("fast")},
		"Unchanged": {old: annotated("gone"), now: annotated("gone")},
		"Label": {old: annotated("gone"), now: claim("slow", func(c *corev1.PersistentVolumeClaim) {
			c.Annotations, c.Labels = annotated("gone").Annotations, map[string]string{"a": "b"}
		})},
	} {
		plugin := Policy(PolicyOptions{Checks: PolicyChecks(withClaims(nil), hostClasses())})
		a := admission.NewAttributesRecord(tc.now, tc.old, corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"), "shop", "db",
			corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"), "status", admission.Update, nil, false, &user.DefaultInfo{Name: "tenant"})
		if err := plugin.Validate(t.Context(), a, nil); apierrors.IsForbidden(err) != tc.denied || err != nil && !tc.denied {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
