package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/labels"
)

// shop is the virtual cluster of most tests.
var shop = Cluster{
	UID:       "6f1c0e6e-6a58-4b7e-9a55-0d2f7b1f9a01",
	Name:      "shop",
	Namespace: "tenant-shop",
	Anchor:    metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "6f1c0e6e-6a58-4b7e-9a55-0d2f7b1f9a01"},
}

// nameOf draws names that are hard on a scheme: dashes, dots, digits in front and
// every length.
func nameOf(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?`).Draw(t, label)
}

func schemes() map[string]Scheme {
	return map[string]Scheme{"hashed": Hashed, "token": Derived("token"), "other": Derived("other")}
}

func TestNamesAreDNSLabelsAndStable(t *testing.T) {
	t.Parallel()
	for name, scheme := range schemes() {
		rapid.Check(t, func(t *rapid.T) {
			virtual := types.NamespacedName{Namespace: nameOf(t, "namespace"), Name: nameOf(t, "name")}
			host := scheme(shop, virtual)
			if problems := validation.IsDNS1035Label(host.Name); len(problems) > 0 {
				t.Errorf("%s: host name %q of %s: %v", name, host.Name, virtual, problems)
			}
			if host.Namespace != shop.Namespace {
				t.Errorf("%s: host namespace of %s is %q", name, virtual, host.Namespace)
			}
			if again := scheme(shop, virtual); again != host {
				t.Errorf("%s: %s is %s once and %s the next time", name, virtual, host, again)
			}
		})
	}
}

func TestNamesNeverMeet(t *testing.T) {
	t.Parallel()
	other := shop
	other.UID = "6f1c0e6e-6a58-4b7e-9a55-0d2f7b1f9a02"
	rapid.Check(t, func(t *rapid.T) {
		// Cutting one text in different places is what defeats concatenation.
		text := nameOf(t, "text") + "-x-" + nameOf(t, "more")
		seen := map[string]string{}
		for _, cluster := range []Cluster{shop, other} {
			for cut := 1; cut < len(text); cut++ {
				for name, scheme := range schemes() {
					virtual := types.NamespacedName{Namespace: text[:cut], Name: text[cut:]}
					who := name + " " + cluster.UID + " " + virtual.String()
					host := scheme(cluster, virtual).Name
					if before, taken := seen[host]; taken {
						t.Fatalf("%s and %s meet at %s", before, who, host)
					}
					seen[host] = who
				}
			}
		}
	})
}

func TestNamesOfKnownCollisions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		a, b   types.NamespacedName
	}{
		"Dashes": {
			reason: "the separator of a concatenation may be part of a name",
			a:      types.NamespacedName{Namespace: "a-x-b", Name: "c"},
			b:      types.NamespacedName{Namespace: "a", Name: "b-x-c"},
		},
		"LongNames": {
			reason: "only the end differs, beyond the readable part",
			a:      types.NamespacedName{Namespace: "a", Name: strings.Repeat("n", 200) + "1"},
			b:      types.NamespacedName{Namespace: "a", Name: strings.Repeat("n", 200) + "2"},
		},
		"DotsAndDashes": {
			reason: "both have the same readable part",
			a:      types.NamespacedName{Namespace: "a", Name: "b.c"},
			b:      types.NamespacedName{Namespace: "a", Name: "b-c"},
		},
		"EmptyNamespace": {
			reason: "a cluster-scoped object is not one in the namespace of its name",
			a:      types.NamespacedName{Name: "ab"},
			b:      types.NamespacedName{Namespace: "a", Name: "b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if Hashed(shop, tt.a) == Hashed(shop, tt.b) {
				t.Errorf("%s: %s and %s both are %s", tt.reason, tt.a, tt.b, Hashed(shop, tt.a))
			}
		})
	}
}

func TestNamesAreReadable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ name, prefix string }{
		"Plain":     {name: "web-0", prefix: "web-0-"},
		"Dots":      {name: "kube-root-ca.crt", prefix: "kube-root-ca-crt-"},
		"Digit":     {name: "1st", prefix: "x1st-"},
		"Long":      {name: strings.Repeat("a", 100), prefix: strings.Repeat("a", 36) + "-"},
		"DashAtCut": {name: strings.Repeat("a", 35) + "-b", prefix: strings.Repeat("a", 35) + "-"},
		"Colons":    {name: "system:node", prefix: "system-node-"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Hashed(shop, types.NamespacedName{Namespace: "default", Name: tt.name}).Name
			if want := len(tt.prefix) + 26; !strings.HasPrefix(got, tt.prefix) || len(got) != want {
				t.Errorf("Hashed(%q) = %q, want %q and 26 characters", tt.name, got, tt.prefix)
			}
		})
	}
}

func TestNamesDoNotChange(t *testing.T) {
	t.Parallel()
	// Another name after an upgrade would make every host object an orphan.
	web := types.NamespacedName{Namespace: "default", Name: "web"}
	got := []string{Hashed(shop, web).Name, Derived(TokenRole)(shop, web).Name, Same(shop, web).String()}
	want := []string{"web-5whpup7mrpktipay7ojlyknqvq", "web-ylhvka2hy7ohj2kl4zifl2wxsu", "/web"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names changed (-want +got):\n%s", diff)
	}
}

func TestOriginOfStamped(t *testing.T) {
	t.Parallel()
	for name, scheme := range schemes() {
		rapid.Check(t, func(t *rapid.T) {
			virtual := types.NamespacedName{Namespace: nameOf(t, "namespace"), Name: nameOf(t, "name")}
			uid := types.UID(rapid.StringMatching(`[0-9a-f-]{0,36}`).Draw(t, "uid"))
			host := &corev1.Pod{}
			Stamp(shop, scheme, virtual, uid, host)
			got, gotUID, ours := Origin(shop, scheme, host)
			if uid == "" {
				uid = labels.Pending
			}
			if !ours || got != virtual || gotUID != uid {
				t.Errorf("%s: Origin(Stamp(%s, %s)) = %s, %s, %t", name, virtual, uid, got, gotUID, ours)
			}
		})
	}
}

func TestOriginRefuses(t *testing.T) {
	t.Parallel()
	virtual := types.NamespacedName{Namespace: "default", Name: "web"}
	tests := map[string]struct {
		reason string
		change func(*corev1.Pod)
		scheme Scheme
	}{
		"Foreign": {
			reason: "an object without our marks is somebody else's",
			change: func(host *corev1.Pod) { host.Labels, host.Annotations = nil, nil },
		},
		"OtherCluster": {
			reason: "it belongs to another virtual cluster in the same namespace",
			change: func(host *corev1.Pod) { host.Labels[labels.Cluster] = "other" },
		},
		"Renamed": {
			reason: "somebody copied a host object of ours to another name",
			change: func(host *corev1.Pod) { host.Name = "web" },
		},
		"Moved": {
			reason: "somebody copied a host object of ours to another namespace",
			change: func(host *corev1.Pod) { host.Namespace = "elsewhere" },
		},
		"OtherObject": {
			reason: "its annotations claim another virtual object than its name",
			change: func(host *corev1.Pod) { host.Annotations[labels.VirtualName] = "db" },
		},
		"OtherNamespace": {
			reason: "its annotations claim another virtual namespace than its name",
			change: func(host *corev1.Pod) { host.Annotations[labels.VirtualNamespace] = "kube-system" },
		},
		"NoUID": {
			reason: "nobody can tell which virtual object of that name it was made for",
			change: func(host *corev1.Pod) { delete(host.Annotations, labels.VirtualUID) },
		},
		"OtherRole": {
			reason: "it stands beside the copy, it is not the copy",
			change: func(*corev1.Pod) {},
			scheme: Derived(TokenRole),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := &corev1.Pod{}
			Stamp(shop, Hashed, virtual, "u1", host)
			tt.change(host)
			scheme := tt.scheme
			if scheme == nil {
				scheme = Hashed
			}
			if got, _, ours := Origin(shop, scheme, host); ours {
				t.Errorf("%s: Origin says that it is ours, of %s", tt.reason, got)
			}
		})
	}
}

func TestStampKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	host := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{"mesh": "on", labels.Cluster: "forged"},
		Annotations: map[string]string{"note": "kept"},
	}}
	Stamp(shop, Hashed, types.NamespacedName{Namespace: "default", Name: "web"}, "u1", host)
	want := metav1.ObjectMeta{
		Namespace: shop.Namespace,
		Name:      Hashed(shop, types.NamespacedName{Namespace: "default", Name: "web"}).Name,
		Labels:    map[string]string{"mesh": "on", labels.Cluster: shop.UID, labels.Namespace: "default"},
		Annotations: map[string]string{
			"note":                  "kept",
			labels.VirtualNamespace: "default",
			labels.VirtualName:      "web",
			labels.VirtualUID:       "u1",
		},
		OwnerReferences: []metav1.OwnerReference{shop.Anchor},
	}
	if diff := cmp.Diff(want, host.ObjectMeta); diff != "" {
		t.Errorf("Stamp (-want +got):\n%s", diff)
	}
}

// TestStampOwner looks for an owner reference only where the host's garbage
// collector honours it.
func TestStampOwner(t *testing.T) {
	t.Parallel()
	elsewhere := func(_ Cluster, virtual types.NamespacedName) types.NamespacedName {
		return types.NamespacedName{Namespace: "elsewhere", Name: virtual.Name}
	}
	clusterScoped := func(c Cluster, virtual types.NamespacedName) types.NamespacedName {
		return types.NamespacedName{Name: Hashed(c, virtual).Name}
	}
	cases := map[string]struct {
		reason string
		scheme Scheme
		owned  bool
	}{
		"AnchorsNamespace": {reason: "the collector deletes it with the release", scheme: Hashed, owned: true},
		"OtherNamespace":   {reason: "the collector would delete it at once", scheme: elsewhere},
		"ClusterScoped":    {reason: "a namespaced owner of it is invalid", scheme: clusterScoped},
	}
	for name, tc := range cases {
		host := &corev1.ConfigMap{}
		Stamp(shop, tc.scheme, types.NamespacedName{Namespace: "default", Name: "web"}, "u1", host)
		if owned := len(host.OwnerReferences) > 0; owned != tc.owned {
			t.Errorf("%s: owned = %t, want %t: %s", name, owned, tc.owned, tc.reason)
		}
		if host.Labels[labels.Cluster] != shop.UID {
			t.Errorf("%s: the label that a sweep looks for is missing", name)
		}
	}
}

func TestSetController(t *testing.T) {
	t.Parallel()
	anchor := func(controller *bool) metav1.OwnerReference {
		owner := shop.Anchor
		owner.Controller = controller
		return owner
	}
	other := metav1.OwnerReference{Kind: "Batch", Name: "b", UID: "b"}
	operator := metav1.OwnerReference{Kind: "Batch", Name: "b", UID: "b", Controller: new(true)}
	for _, test := range []struct {
		name, reason string
		owners, want []metav1.OwnerReference
		controlled   bool
	}{
		{name: "new", reason: "drain lets it go", controlled: true, want: []metav1.OwnerReference{anchor(new(true))}},
		{name: "new and bare", reason: "nothing would create it again", want: []metav1.OwnerReference{anchor(nil)}},
		{name: "older", reason: "the owners of others stay", owners: []metav1.OwnerReference{other, anchor(nil)}, controlled: true,
			want: []metav1.OwnerReference{other, anchor(new(true))}},
		{name: "again", reason: "there is nothing to do", owners: []metav1.OwnerReference{anchor(new(true))}, controlled: true,
			want: []metav1.OwnerReference{anchor(new(true))}},
		{name: "released", reason: "its controller has let it go", owners: []metav1.OwnerReference{anchor(new(true))}, want: []metav1.OwnerReference{anchor(nil)}},
		{name: "not released", reason: "false is no mark", owners: []metav1.OwnerReference{anchor(new(false))}, want: []metav1.OwnerReference{anchor(new(false))}},
		{name: "of another", reason: "an object has one controller", owners: []metav1.OwnerReference{anchor(nil), operator}, controlled: true,
			want: []metav1.OwnerReference{anchor(nil), operator}},
		{name: "without the anchor", reason: "somebody has removed it", owners: []metav1.OwnerReference{other}, controlled: true, want: []metav1.OwnerReference{other}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			host := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: test.owners}}
			SetController(shop, host, test.controlled)
			if diff := cmp.Diff(test.want, host.OwnerReferences); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			marked := host.DeepCopy()
			Stamp(shop, Hashed, types.NamespacedName{Namespace: "default", Name: "web"}, "u1", marked)
			KeepOwners(shop, marked, test.want)
			if diff := cmp.Diff(test.want, marked.OwnerReferences); diff != "" {
				t.Errorf("after the engine has stamped it (-want +got):\n%s", diff)
			}
			if shop.Anchor.Controller != nil {
				t.Error("the cluster's own reference has changed")
			}
		})
	}
}
