package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/test/await"
)

// replicate sets networking.replicateServices, with the release's own NetworkPolicies.
func replicate(settings v1alpha1.ReplicateServices) func(*kinds.Options) {
	return func(o *kinds.Options) {
		o.Replicate, o.NetworkPolicy.Enabled = settings, true
	}
}

// TestServicesOfTheHost shows a Service of the host to the tenant. It follows its original,
// its address and its endpoints, and ends with it.
func TestServicesOfTheHost(t *testing.T) {
	r := newRelease(t)
	shared, copies := r.namespace+"-shared", r.namespace+"-copies"
	t.Cleanup(func() { r.clear(shared); r.clear(copies) })
	ctx := t.Context()
	create := func(object client.Object) {
		t.Helper()
		if err := r.host.client.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shared}})
	original := r.service("main")
	original.Namespace, original.Spec.Selector = shared, nil
	create(original)
	endpoints := &corev1.Endpoints{ //nolint:staticcheck // The kind reads it.
		ObjectMeta: metav1.ObjectMeta{Namespace: shared, Name: "main"},
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // as above
			Addresses: []corev1.EndpointAddress{{IP: "192.0.2.7"}}, Ports: []corev1.EndpointPort{{Name: "http", Port: 8080, Protocol: corev1.ProtocolTCP}},
		}},
	}
	create(endpoints)
	key := client.ObjectKey{Namespace: copies, Name: "db"}
	settings := v1alpha1.ReplicateServices{FromHost: []v1alpha1.ServiceFromHost{{From: shared + "/main", To: key.String()}}}
	r.startSome(t, r.allKinds(replicate(settings)), "services", "endpointslices", "hostservices", "hostendpoints", "hostendpointpolicies")

	await.Until(t, "the copy", func(ctx context.Context) error {
		var copied corev1.Service
		if err := r.virtual.client.Get(ctx, key, &copied); err != nil {
			return err
		}
		if copied.Spec.ClusterIP != original.Spec.ClusterIP || copied.Spec.Ports[0].Port != 80 {
			return fmt.Errorf("it has %+v", copied.Spec)
		}
		return nil
	})
	await.Until(t, "the endpoints", func(ctx context.Context) error { return r.virtual.hasSlice(ctx, key, "192.0.2.7") })
	endpoints.Subsets[0].Addresses[0].IP = "192.0.2.8"
	if err := r.host.client.Update(ctx, endpoints); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "other endpoints", func(ctx context.Context) error { return r.virtual.hasSlice(ctx, key, "192.0.2.8") })
	await.Until(t, "an open way to them", func(ctx context.Context) error {
		var policies networkingv1.NetworkPolicyList
		err := r.host.client.List(ctx, &policies, client.InNamespace(r.namespace))
		if err == nil && (len(policies.Items) != 1 || policies.Items[0].Spec.Egress[0].To[0].IPBlock.CIDR != "192.0.2.8/32") {
			err = fmt.Errorf("%d policies", len(policies.Items))
		}
		return err
	})
	var hosts corev1.ServiceList
	// Services of earlier tests may not be gone yet.
	ofCopies := client.MatchingLabels{labels.Namespace: copies}
	if err := r.host.client.List(ctx, &hosts, client.InNamespace(r.namespace), ofCopies); err != nil || len(hosts.Items) > 0 {
		t.Errorf("a copy of a Service of the host needs none on the host: %d, %v", len(hosts.Items), err)
	}
	if err := r.host.client.Delete(ctx, original); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the end of the copy", func(ctx context.Context) error {
		err := r.virtual.client.Get(ctx, key, &corev1.Service{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there: %w", err)
	})
	await.Until(t, "the end of its endpoints", func(ctx context.Context) error {
		var left discoveryv1.EndpointSliceList
		err := r.virtual.client.List(ctx, &left, client.InNamespace(copies))
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d slices", len(left.Items))
		}
		return err
	})
}

// TestServicesForTheHost gives the host a Service of the tenant under a name of the operator's.
// It goes with its entry.
func TestServicesForTheHost(t *testing.T) {
	r := newRelease(t)
	ctx := t.Context()
	entries := v1alpha1.ReplicateServices{ToHost: []v1alpha1.ServiceToHost{{From: r.namespace + "/web", To: "shop-web"}}}
	e := r.startSome(t, r.allKinds(replicate(entries)), "services", "replicatedservices")
	if err := r.virtual.client.Create(ctx, r.service("web")); err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKey{Namespace: r.namespace, Name: "shop-web"}
	var replica corev1.Service
	await.Until(t, "the Service of the host", func(ctx context.Context) error { return r.host.client.Get(ctx, key, &replica) })
	if replica.Spec.Ports[0].TargetPort.IntValue() != 8080 || replica.Spec.Selector[labels.Cluster] != r.cluster.UID {
		t.Errorf("it does not lead to the tenant's pods: %+v", replica.Spec)
	}
	var ordinary corev1.Service
	await.Until(t, "the ordinary copy", func(ctx context.Context) error { return r.host.client.Get(ctx, r.hostKey("web"), &ordinary) })
	e.stop()

	r.startSome(t, r.allKinds(replicate(v1alpha1.ReplicateServices{})), "services", "replicatedservices")
	await.Until(t, "the end with its entry", func(ctx context.Context) error {
		err := r.host.client.Get(ctx, key, &corev1.Service{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there: %w", err)
	})
	if err := r.host.client.Get(ctx, r.hostKey("web"), &ordinary); err != nil {
		t.Errorf("the ordinary copy must stay: %v", err)
	}
}
