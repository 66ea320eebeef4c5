package admission

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestVolumeStep checks which requests write to the host, and what.
func TestVolumeStep(t *testing.T) {
	t.Parallel()
	volume := func(uid string, policy corev1.PersistentVolumeReclaimPolicy) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv-1", Annotations: map[string]string{labels.HostUID: uid}},
			Spec:       corev1.PersistentVolumeSpec{PersistentVolumeReclaimPolicy: policy},
		}
	}
	const retain, remove = corev1.PersistentVolumeReclaimRetain, corev1.PersistentVolumeReclaimDelete
	for name, test := range map[string]struct {
		reason   string
		old, now *corev1.PersistentVolume
		syncer   bool
		want     []string
	}{
		"Changed":  {reason: "the host's volume is changed first", old: volume("u", remove), now: volume("u", retain), want: []string{"pv-1 Retain"}},
		"Same":     {reason: "nothing to change", old: volume("u", retain), now: volume("u", retain)},
		"NoCopy":   {reason: "a volume from before", old: volume("", remove), now: volume("", retain)},
		"BySyncer": {reason: "it writes what the host has", old: volume("u", remove), now: volume("u", retain), syncer: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			step := Volumes(VolumeOptions{
				IsSyncer: func(context.Context) bool { return test.syncer },
				SetReclaimPolicy: func(_ context.Context, virtual *corev1.PersistentVolume, policy corev1.PersistentVolumeReclaimPolicy, _ bool) error {
					got = append(got, virtual.Name+" "+string(policy))
					return nil
				},
			})
			a := admission.NewAttributesRecord(test.now, test.old, corev1.SchemeGroupVersion.WithKind("PersistentVolume"), "", "pv-1",
				corev1.SchemeGroupVersion.WithResource("persistentvolumes"), "", admission.Update, nil, false, &user.DefaultInfo{})
			writes, err := step.Prepare(t.Context(), a, nil)
			if err == nil && writes {
				err = step.Apply(t.Context(), a, nil)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", test.reason, err, diff)
			}
		})
	}
}
