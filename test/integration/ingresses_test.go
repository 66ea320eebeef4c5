package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/app/hostnames"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestIngresses syncs an Ingress with its Secret and its status. A host name that another
// virtual cluster has is refused, and another one is not.
func TestIngresses(t *testing.T) {
	r := newRelease(t)
	r.startSome(t, r.ingressKinds(), "ingresses", "secrets")
	foreign := r.foreignIngress(t, "taken.example.com")
	if err := r.virtual.client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "certificate"}, Data: map[string][]byte{"key": []byte("value")},
	}); err != nil {
		t.Fatal(err)
	}
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web"},
		Spec:       ingressSpec("certificate", "web", foreign.Spec.Rules[0].Host),
	}
	if err := r.virtual.client.Create(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Event about the host name", func(ctx context.Context) error { return r.hasEvent(ctx, ingress, "taken.example.com belongs to") })
	if err := r.host.client.Get(t.Context(), r.hostKey(ingress.Name), &networkingv1.Ingress{}); !apierrors.IsNotFound(err) {
		t.Fatalf("an Ingress with a host name of somebody else has a copy: %v", err)
	}

	before := ingress.DeepCopy()
	ingress.Spec = ingressSpec("certificate", "web", "free.example.com")
	if err := r.virtual.client.Patch(t.Context(), ingress, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	host := &networkingv1.Ingress{}
	eventually(t, "copy that has its host name", func(ctx context.Context) error {
		if err := r.host.client.Get(ctx, r.hostKey(ingress.Name), host); err != nil {
			return err
		}
		if host.Annotations[labels.ClaimedHosts] != "free.example.com" {
			return fmt.Errorf("the host has %v", host.Annotations)
		}
		return nil
	})
	want := ingressSpec(r.hostKey("certificate").Name, r.hostKey("web").Name, "free.example.com")
	if got := host.Spec; got.TLS[0].SecretName != want.TLS[0].SecretName || got.Rules[0].HTTP.Paths[0].Backend.Service.Name != r.hostKey("web").Name {
		t.Errorf("the host has %v, want %v", got, want)
	}
	eventually(t, "copy of the Secret", func(ctx context.Context) error {
		return r.host.client.Get(ctx, r.hostKey("certificate"), &corev1.Secret{})
	})
	r.reportsAddress(t, host, ingress)
	if err := r.virtual.client.Delete(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	r.awaitNoCopy(t, r.hostKey(ingress.Name), &networkingv1.Ingress{})
	r.awaitNoCopy(t, r.hostKey("certificate"), &corev1.Secret{})
}

// ingressKinds returns all kinds, with Ingresses of every host name.
func (r *release) ingressKinds() []syncer.Kind {
	return r.allKinds(func(o *kinds.Options) {
		settings := v1alpha1.Default(kinds.Settings()...)
		settings.Sync.Kinds["sync.toHost.ingresses"] = v1alpha1.KindSettings{Enabled: true}
		settings.Policies.Ingresses.Hosts = []string{"*"}
		host := kubernetes.NewForConfigOrDie(r.host.plane.ClientConfig("hostnames", pki.GroupAdmins))
		o.Sync, o.Ingresses = settings.Sync, policy.NewIngresses(settings)
		o.HostNames = hostnames.New(host.NetworkingV1().Ingresses(metav1.NamespaceAll), r.cluster.UID)
	})
}

// foreignIngress creates the Ingress that another virtual cluster has on the host.
func (r *release) foreignIngress(t *testing.T, host string) *networkingv1.Ingress {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace + "-foreign"}}
	foreign := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace.Name, Name: "web",
			Labels: map[string]string{labels.Cluster: "another"}, Annotations: map[string]string{labels.ClaimedHosts: host},
		},
		Spec: ingressSpec("certificate", "web", host),
	}
	for _, object := range []client.Object{namespace, foreign} {
		if err := r.host.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { r.clear(namespace.Name) })
	return foreign
}

// ingressSpec returns an Ingress with TLS for one host name.
func ingressSpec(secret, service, host string) networkingv1.IngressSpec {
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
	}}
	return networkingv1.IngressSpec{
		TLS: []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: secret}},
		Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
				{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: backend},
			}},
		}}},
	}
}

// hasEvent returns an error until there is an Event on an object with a text.
func (r *release) hasEvent(ctx context.Context, object client.Object, text string) error {
	var events corev1.EventList
	if err := r.virtual.client.List(ctx, &events, client.InNamespace(object.GetNamespace())); err != nil {
		return err
	}
	if !slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
		return e.InvolvedObject.UID == object.GetUID() && strings.Contains(e.Message, text)
	}) {
		return fmt.Errorf("no Event of %d has %q", len(events.Items), text)
	}
	return nil
}

// reportsAddress gives the host Ingress an address, and waits until the tenant sees it.
func (r *release) reportsAddress(t *testing.T, host, virtual *networkingv1.Ingress) {
	t.Helper()
	before := host.DeepCopy()
	host.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "198.51.100.7"}}
	if err := r.host.client.Status().Patch(t.Context(), host, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "address of the Ingress", func(ctx context.Context) error {
		if err := r.virtual.client.Get(ctx, client.ObjectKeyFromObject(virtual), virtual); err != nil {
			return err
		}
		if got := virtual.Status.LoadBalancer.Ingress; len(got) != 1 || got[0].IP != "198.51.100.7" {
			return fmt.Errorf("the status has %v", got)
		}
		return nil
	})
}

// awaitNoCopy waits until the host has no object of that name.
func (r *release) awaitNoCopy(t *testing.T, key client.ObjectKey, object client.Object) {
	t.Helper()
	eventually(t, "end of the copy "+key.Name, func(ctx context.Context) error {
		err := r.host.client.Get(ctx, key, object)
		if err == nil {
			return fmt.Errorf("the host still has %T", object)
		}
		return client.IgnoreNotFound(err)
	})
}
