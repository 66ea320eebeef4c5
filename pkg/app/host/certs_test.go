package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestCertsOfAnEarlierRelease starts a release while the host has yet to delete the keys of an
// earlier one of its name. Nobody who has those may get in.
func TestCertsOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		owner   metav1.OwnerReference
		store   bool
		known   *Facts
		wantCA  string
		wantOwn bool
	}{
		"Earlier": {
			reason: "A new release has keys of its own.",
			owner:  shop().AnchorOwner("earlier-uid"), wantCA: "new", wantOwn: true,
		},
		"Own": {
			reason: "The Secret of this release stays.",
			owner:  shop().AnchorOwner("anchor-uid"), wantCA: "old", wantOwn: true,
		},
		"Given": {
			reason: "So does one that somebody has created, who owns it otherwise.",
			owner:  metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "others", UID: "others-uid"}, wantCA: "old",
		},
		"KeptStore": {
			reason: "A store that the operator has accepted keeps the keys that are on its volume.",
			owner:  shop().AnchorOwner("earlier-uid"), store: true,
			known:  &Facts{Anchor: shop().AnchorOwner("kept-uid"), Store: "store-uid", Certs: map[string][]byte{"ca.crt": []byte("kept")}},
			wantCA: "kept", wantOwn: true,
		},
		"KeptStoreWithoutCopy": {
			reason: "Without a copy, the Secret has the only keys of the store.",
			owner:  shop().AnchorOwner("earlier-uid"), store: true,
			known:  &Facts{Anchor: shop().AnchorOwner("kept-uid"), Store: "store-uid"},
			wantCA: "old",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := certsSecret()
			secret.OwnerReferences = []metav1.OwnerReference{tc.owner}
			client := fake.NewClientset(chartObjects(map[string]string{labels.AcceptStore: "store-uid"}, secret)...)
			d := newDiscovery(t, client)
			if tc.store {
				createStore(t, d.DataDir)
			}
			if tc.known != nil {
				if err := tc.known.save(d.DataDir); err != nil {
					t.Fatal(err)
				}
			}
			facts, _, err := d.Discover(t.Context(), noStandby(t))
			if err != nil {
				t.Fatal(err)
			}
			secret, err = client.CoreV1().Secrets(shop().Namespace).Get(t.Context(), "shop-certs", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tc.wantCA, tc.wantCA}, []string{string(facts.Certs["ca.crt"]), string(secret.Data["ca.crt"])}); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
			if got := isOwnedBy(secret, shop().AnchorOwner("anchor-uid")); got != tc.wantOwn {
				t.Errorf("%s\nits owners are %v", tc.reason, secret.OwnerReferences)
			}
		})
	}
}
