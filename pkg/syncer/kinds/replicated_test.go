package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestOriginOfReplicas checks that a host Service under a name of the operator's goes with its
// entry, and that others are nobody's.
func TestOriginOfReplicas(t *testing.T) {
	t.Parallel()
	entries := toServicesOnHost{{From: "shop/web", To: "shop-web"}}
	scope := syncer.Scope{Cluster: testCluster()}
	web := types.NamespacedName{Namespace: "shop", Name: "web"}
	named := func(scheme translate.Scheme, change func(*corev1.Service)) *corev1.Service {
		host := &corev1.Service{}
		translate.Stamp(testCluster(), scheme, web, "uid-of-web", host)
		host.Labels[labels.Replica] = "true"
		if change != nil {
			change(host)
		}
		return host
	}
	removed := toServicesOnHost{{From: "shop/web", To: "former"}}
	for reason, c := range map[string]struct {
		host *corev1.Service
		want types.NamespacedName
		ours bool
	}{
		"it has an entry":        {named(entries.scheme, nil), web, true},
		"its entry is gone":      {named(removed.scheme, nil), types.NamespacedName{Namespace: removedNamespace, Name: "former"}, true},
		"it is an ordinary copy": {named(translate.Hashed, func(s *corev1.Service) { delete(s.Labels, labels.Replica) }), types.NamespacedName{}, false},
		"it is another's":        {named(entries.scheme, func(s *corev1.Service) { s.Labels[labels.Cluster] = "other" }), types.NamespacedName{}, false},
	} {
		got, ours := entries.origin(scope, c.host)
		if got != c.want || ours != c.ours {
			t.Errorf("%s: got %s, %t, want %s, %t", reason, got, ours, c.want, c.ours)
		}
		if ours && entries.scheme(testCluster(), got).Name != c.host.Name {
			t.Errorf("%s: the engine cannot find %s", reason, c.host.Name)
		}
	}
}

func TestServiceOfTheHost(t *testing.T) {
	t.Parallel()
	single := corev1.IPFamilyPolicySingleStack
	host := &corev1.Service{Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.7.7", ClusterIPs: []string{"10.96.7.7"}, IPFamilyPolicy: &single,
		Selector: map[string]string{"app": "db"}, ExternalIPs: []string{"192.0.2.1"},
		Ports: []corev1.ServicePort{{Name: "sql", Port: 5432, NodePort: 30432}},
	}}
	virtual := &corev1.Service{}
	fillFromHost(host, virtual)
	want := corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.7.7", ClusterIPs: []string{"10.96.7.7"}, IPFamilyPolicy: &single,
		Ports: []corev1.ServicePort{{Name: "sql", Port: 5432}},
	}
	if diff := cmp.Diff(want, virtual.Spec); diff != "" {
		t.Error(diff)
	}
	if host.Spec.Ports[0].NodePort != 30432 {
		t.Error("the original was changed")
	}
	named := &corev1.Service{}
	fillFromHost(&corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.com"}}, named)
	if named.Spec.Type != corev1.ServiceTypeExternalName || named.Spec.ExternalName != "db.example.com" || named.Spec.ClusterIP != "" {
		t.Errorf("an alias stays one: %+v", named.Spec)
	}
}

func TestEndpointsOfTheHost(t *testing.T) {
	t.Parallel()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "uid-of-db"}}
	host := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // The kind reads it.
		Addresses:         []corev1.EndpointAddress{{IP: "10.1.0.5", Hostname: "db-0", TargetRef: &corev1.ObjectReference{Name: "db-0"}}},
		NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.1.0.6"}},
		Ports:             []corev1.EndpointPort{{Name: "sql", Port: 5432, Protocol: corev1.ProtocolTCP}},
	}}}
	slice := &discoveryv1.EndpointSlice{}
	fillSliceFromHost(host, service, slice)
	want := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Labels:          map[string]string{discoveryv1.LabelServiceName: "db", discoveryv1.LabelManagedBy: "sublet.dev"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "db", UID: "uid-of-db"}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.1.0.5"}, Hostname: new("db-0"), Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
			{Addresses: []string{"10.1.0.6"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
		},
		Ports: []discoveryv1.EndpointPort{{Name: new("sql"), Port: new(int32(5432)), Protocol: new(corev1.ProtocolTCP)}},
	}
	if diff := cmp.Diff(want, slice); diff != "" {
		t.Error(diff)
	}
	policy := translate.HostEndpointsPolicy(testCluster(), slice)
	if len(policy.Egress) != 1 || len(policy.Egress[0].To) != 2 || policy.Egress[0].To[0].IPBlock.CIDR != "10.1.0.5/32" || policy.Egress[0].Ports[0].Port.IntValue() != 5432 {
		t.Errorf("the way to them is not what is open: %+v", policy.Egress)
	}
	slice.Endpoints = nil
	if policy := translate.HostEndpointsPolicy(testCluster(), slice); len(policy.Egress) != 0 {
		t.Errorf("no endpoint opens all: %+v", policy.Egress)
	}
}

func TestReplicatedKinds(t *testing.T) {
	t.Parallel()
	names := func(change func(*Options)) []string {
		o := Options{Sync: v1alpha1.Default(Settings()...).Sync}
		change(&o)
		var all []string
		for _, kind := range Replicated(o) {
			all = append(all, kind.Name())
		}
		return all
	}
	fromHost := v1alpha1.ReplicateServices{FromHost: []v1alpha1.ServiceFromHost{{From: "shared/db", To: "shop/db"}}}
	for reason, c := range map[string]struct {
		change func(*Options)
		want   []string
	}{
		"copies of former entries are deleted": {func(*Options) {}, []string{"replicatedservices", "hostservices"}},
		"Services of the host have endpoints":  {func(o *Options) { o.Replicate = fromHost }, []string{"replicatedservices", "hostservices", "hostendpoints"}},
		"the release closes the network": {
			func(o *Options) { o.Replicate, o.NetworkPolicy.Enabled = fromHost, true },
			[]string{"replicatedservices", "hostservices", "hostendpoints", "hostendpointpolicies"},
		},
		"the release has no permission for Services": {func(o *Options) { o.Sync = v1alpha1.Sync{} }, nil},
	} {
		if diff := cmp.Diff(c.want, names(c.change)); diff != "" {
			t.Errorf("%s:\n%s", reason, diff)
		}
	}
}

// TestLeftoversOfEveryKind checks that a kind of the tenant's objects that some settings switch off is
// among those whose copies are deleted. Its copies would stay until the release is removed.
func TestLeftoversOfEveryKind(t *testing.T) {
	t.Parallel()
	none := Options{Sync: v1alpha1.Sync{}}
	all := Options{Sync: v1alpha1.Sync{Kinds: map[string]v1alpha1.KindSettings{}}}
	all.Replicate = v1alpha1.ReplicateServices{
		FromHost: []v1alpha1.ServiceFromHost{{From: "shared/db", To: "shop/db"}}, ToHost: []v1alpha1.ServiceToHost{{From: "shop/web", To: "web"}},
	}
	all.NetworkPolicy.Enabled = true
	for _, row := range Table() {
		all.Sync.Kinds[row.Setting] = v1alpha1.KindSettings{Enabled: true}
	}
	withoutPolicy := all
	withoutPolicy.NetworkPolicy.Enabled = false
	withoutEntries := all
	withoutEntries.Replicate = v1alpha1.ReplicateServices{}
	possible := running(all)
	for reason, o := range map[string]Options{
		"with all": all, "without any": none, "without policies of the release": withoutPolicy, "without Services of the other cluster": withoutEntries,
	} {
		swept := running(o)
		for _, row := range Table() {
			for _, leftover := range row.Leftovers(o) {
				swept[leftover.Kind.Name()] = true
			}
		}
		for _, leftover := range ReplicatedLeftovers(o) {
			swept[leftover.Kind.Name()] = true
		}
		if !o.Sync.IsEnabled("sync.toHost.services") {
			swept["replicatedservices"] = true // Validation lets the entries go before the kind.
		}
		for name := range possible {
			if !swept[name] {
				t.Errorf("%s: copies of %s stay on the host for ever", reason, name)
			}
		}
	}
}

// running returns the names of the kinds of the tenant's objects that run under these options.
func running(o Options) map[string]bool {
	names := map[string]bool{}
	all := Replicated(o)
	for _, row := range Table() {
		all = append(all, row.Define(o)...)
	}
	for _, kind := range all {
		if kind.Owner() == syncer.Virtual {
			names[kind.Name()] = true
		}
	}
	return names
}

// TestEndpointsKeepTheirFamily checks that an update without addresses never changes their type, which no API server allows.
func TestEndpointsKeepTheirFamily(t *testing.T) {
	t.Parallel()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}, Spec: corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}}}
	some := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "fd00::5"}}}}} //nolint:staticcheck // See [HostEndpoints].
	for name, order := range map[string][]*corev1.Endpoints{"scaled to 0": {some, {}}, "empty at first": {{}, some}} {  //nolint:staticcheck // See [HostEndpoints].
		slice := &discoveryv1.EndpointSlice{}
		fillSliceFromHost(order[0], service, slice)
		before := slice.AddressType
		fillSliceFromHost(order[1], service, slice)
		if before != discoveryv1.AddressTypeIPv6 || slice.AddressType != before {
			t.Errorf("%s: the type is %s and becomes %s", name, before, slice.AddressType)
		}
	}
}

// TestAddressOfTheHostChanges checks when the copy of a Service of the host is created again, as an address cannot change.
func TestAddressOfTheHostChanges(t *testing.T) {
	t.Parallel()
	entries := []v1alpha1.ServiceFromHost{{From: "ops/db", To: "shop/db"}}
	named := corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.com"}
	at := func(ip string) corev1.ServiceSpec {
		return corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip}
	}
	for name, tc := range map[string]struct {
		reason        string
		virtual, host corev1.ServiceSpec
		wanted        bool
	}{
		"Same":     {reason: "nothing has changed", virtual: at("10.96.1.1"), host: at("10.96.1.1"), wanted: true},
		"Other":    {reason: "the original was a name in between", virtual: at("10.96.1.1"), host: at("10.96.2.2")},
		"Headless": {reason: "it has no address any longer", virtual: at("10.96.1.1"), host: at(corev1.ClusterIPNone)},
		"ToName":   {reason: "a name releases the address", virtual: at("10.96.1.1"), host: named, wanted: true},
		"FromName": {reason: "a name can get an address", virtual: named, host: at("10.96.2.2"), wanted: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := HostServices(Options{Replicate: v1alpha1.ReplicateServices{FromHost: entries}}).Want
			host := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "db", UID: "h1"}, Spec: tc.host}
			virtual := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", Annotations: map[string]string{labels.HostUID: "h1"}}, Spec: tc.virtual}
			if wanted, err := want(syncer.Scope{}, virtual, host); err != nil || wanted != tc.wanted {
				t.Errorf("%s: wanted is %t, %v", tc.reason, wanted, err)
			}
			if wanted, err := want(syncer.Scope{}, nil, host); err != nil || !wanted {
				t.Errorf("%s: without a copy, wanted is %t, %v", tc.reason, wanted, err)
			}
		})
	}
}
