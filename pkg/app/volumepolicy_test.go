package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestVolumePolicies changes the volume of the tenant's own claim, and nobody else's.
func TestVolumePolicies(t *testing.T) {
	t.Parallel()
	cluster := translate.Cluster{UID: "cluster", Name: "shop", Namespace: "tenant"}
	key := types.NamespacedName{Namespace: "shop", Name: "data"}
	for name, test := range map[string]struct {
		reason  string
		claim   func(*corev1.PersistentVolumeClaim)
		volume  func(*corev1.PersistentVolume)
		virtual func(*corev1.PersistentVolume)
		want    corev1.PersistentVolumeReclaimPolicy
	}{
		"Own":        {reason: "claim and volume prove it", want: corev1.PersistentVolumeReclaimRetain},
		"NoClaim":    {reason: "a volume without a claim", virtual: func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }},
		"Forged":     {reason: "a claim of that name that is no copy", claim: func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil }},
		"OtherClaim": {reason: "the claim was created again", claim: func(c *corev1.PersistentVolumeClaim) { c.UID = "later" }},
		"Rebound":    {reason: "the claim has another volume", claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pv-2" }},
		"Foreign":    {reason: "the volume has another claim", volume: func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = "foreign" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claim, volume, virtual := volumeOfClaim(cluster, key)
			if test.claim != nil {
				test.claim(claim)
			}
			if test.volume != nil {
				test.volume(volume)
			}
			if test.virtual != nil {
				test.virtual(virtual)
			}
			host := fake.NewClientset(claim, volume)
			err := volumePolicies{host, cluster}.set(t.Context(), virtual, corev1.PersistentVolumeReclaimRetain, false)
			if (err == nil) != (test.want != "") {
				t.Errorf("%s: %v", test.reason, err)
			}
			want := test.want
			if want == "" {
				want = corev1.PersistentVolumeReclaimDelete
			}
			after, err := host.CoreV1().PersistentVolumes().Get(t.Context(), "pv-1", metav1.GetOptions{})
			if err != nil || after.Spec.PersistentVolumeReclaimPolicy != want {
				t.Errorf("%s: the host's volume has %s, want %s, %v", test.reason, after.Spec.PersistentVolumeReclaimPolicy, want, err)
			}
		})
	}
}

// volumeOfClaim returns the host copy of a claim, its host volume and the virtual copy of that.
func volumeOfClaim(cluster translate.Cluster, key types.NamespacedName) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, *corev1.PersistentVolume) {
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"}}
	hashed := translate.Hashed(cluster, key)
	claim.Namespace, claim.Name, claim.UID = hashed.Namespace, hashed.Name, "claim"
	translate.Stamp(cluster, translate.Hashed, key, "virtual", claim)
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef: &corev1.ObjectReference{UID: "claim"}, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
	}}
	virtual := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-1", Annotations: map[string]string{labels.HostUID: "claim"}},
		Spec:       corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: key.Namespace, Name: key.Name}},
	}
	return claim, volume, virtual
}

// TestVolumePoliciesOfAReplicaThatIsNotTheHolder changes no volume while the replica cannot prove its store, and
// changes it once it can.
func TestVolumePoliciesOfAReplicaThatIsNotTheHolder(t *testing.T) {
	t.Parallel()
	cluster := translate.Cluster{UID: "cluster", Name: "shop", Namespace: "tenant"}
	claim, volume, virtual := volumeOfClaim(cluster, types.NamespacedName{Namespace: "shop", Name: "data"})
	claim.APIVersion, claim.Kind, volume.APIVersion, volume.Kind = "v1", "PersistentVolumeClaim", "v1", "PersistentVolume"
	var patches atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPatch {
			patches.Add(1)
		}
		var object any = volume
		if r.URL.Path == "/api/v1/namespaces/tenant/persistentvolumeclaims/"+claim.Name {
			object = claim
		}
		_ = json.NewEncoder(w).Encode(object)
	}))
	t.Cleanup(server.Close)
	unproven, err := newHostClaims(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	holder := &fakeHolder{mayWrite: host.ErrNotProven}
	clients, err := unproven.open(holder, syncer.NewHostLimiter(syncer.HostLimits{}, clocktesting.NewFakeClock(time.Unix(0, 0))))
	if err != nil {
		t.Fatal(err)
	}
	policies := volumePolicies{clients.tenantClient, cluster}
	for _, dryRun := range []bool{false, true} {
		if err := policies.set(t.Context(), virtual, corev1.PersistentVolumeReclaimRetain, dryRun); !apierrors.IsConflict(err) {
			t.Errorf("without proof, dry run %t: %v, want a conflict", dryRun, err)
		}
	}
	if got := patches.Load(); got != 0 {
		t.Errorf("the host got %d patches of a replica without proof", got)
	}
	holder.mayWrite = nil
	if err := policies.set(t.Context(), virtual, corev1.PersistentVolumeReclaimRetain, false); err != nil || patches.Load() != 1 {
		t.Errorf("with proof: %v and %d patches", err, patches.Load())
	}
}
