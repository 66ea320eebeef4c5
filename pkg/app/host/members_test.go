package host

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestMemberRecord shows that a writer who read the members before another one wrote
// them looks at them again.
func TestMemberRecord(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	record := &MemberRecord{Client: client, Release: shop(), Anchor: "anchor-uid"}
	add := func(pod string) func(Members) (Members, error) {
		return func(m Members) (Members, error) { return m.With(pod), nil }
	}
	for _, pod := range []string{"shop-1", "shop-0", "shop-1"} {
		if _, err := record.Update(t.Context(), add(pod)); err != nil {
			t.Fatal(err)
		}
	}
	anchor, err := client.CoreV1().ConfigMaps(shop().Namespace).Get(t.Context(), "shop-anchor", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"generation":0,"pods":["shop-0","shop-1"]}`, anchor.Annotations[labels.StoreMembers]); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	record.Anchor = "another"
	if _, err := record.Update(context.WithoutCancel(t.Context()), add("shop-2")); err == nil {
		t.Error("the record of another anchor was written")
	}
}

// TestCompleteCerts shows that a Secret of an earlier release gets what it lacks.
func TestCompleteCerts(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil, certsSecret())...)
	discovery := newDiscovery(t, client)
	discovery.CompleteCerts = func(data map[string][]byte, _ time.Time) (map[string][]byte, bool, error) {
		return map[string][]byte{"ca.crt": data["ca.crt"], "peer-ca.crt": []byte("new")}, len(data) == 1, nil
	}
	for range 2 {
		facts, _, err := discovery.Discover(t.Context(), noStandby(t))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]byte{"ca.crt": []byte("old"), "peer-ca.crt": []byte("new")}
		if diff := cmp.Diff(want, facts.Certs); diff != "" {
			t.Errorf("certs (-want +got):\n%s", diff)
		}
	}
}
