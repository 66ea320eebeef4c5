package kinds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// smallStore is an API server whose store takes no large patch.
type smallStore struct{ *shelf }

// Patch implements client.Client.
func (s smallStore) Patch(ctx context.Context, object client.Object, patch client.Patch, options ...client.PatchOption) error {
	if data, err := patch.Data(object); err != nil || len(data) > 64<<10 {
		return errors.Join(err, apierrors.NewInternalError(errors.New("etcdserver: request is too large")))
	}
	return s.shelf.Patch(ctx, object, patch, options...)
}

// manyLabels returns labels that take more than a small store has room for.
func manyLabels() map[string]string {
	labels := map[string]string{}
	for i := range 2000 {
		labels[fmt.Sprintf("l%04d", i)] = ""
	}
	return labels
}

// TestOversizedSliceLosesAddresses checks that labels of a slice do not keep the address of a pod that is gone.
func TestOversizedSliceLosesAddresses(t *testing.T) {
	t.Parallel()
	key := types.NamespacedName{Namespace: "shop", Name: "evil-1"}
	kind := syncer.Define("endpointslices", EndpointSlices(testOptions()))
	virtual, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
	virtual.putObject(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "evil"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}})
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "u1", Labels: map[string]string{discoveryv1.LabelServiceName: "evil"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.2.3"}}, {Addresses: []string{"10.1.2.4"}}},
	}
	virtual.putObject(slice)
	pods := map[string]*corev1.Pod{}
	for name, address := range map[string]string{"a": "10.1.2.3", "b": "10.1.2.4"} {
		pod := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: address}}}}
		translate.Stamp(testCluster(), translate.Hashed, types.NamespacedName{Namespace: "shop", Name: name}, types.UID(name), pod)
		pods[name] = pod
		host.putObject(pod)
	}
	step := syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
		Virtual: syncer.StepSide{Client: virtual, Objects: func() []client.Object { return virtual.ofType(slice) }},
		Host:    syncer.StepSide{Client: smallStore{host}, Objects: func() []client.Object { return host.ofType(slice) }},
	}
	if _, err := step.Reconcile(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	labelled := slice.DeepCopy()
	maps.Copy(labelled.Labels, manyLabels())
	virtual.putObject(labelled)
	host.removeObject(pods["a"])
	if _, err := step.Reconcile(t.Context(), key); err == nil {
		t.Error("the tenant must learn that the host refuses the labels")
	}
	left := host.ofKey(slice, step.HostKey(key)).(*discoveryv1.EndpointSlice)
	if diff := cmp.Diff([]discoveryv1.Endpoint{{Addresses: []string{"10.1.2.4"}}}, left.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}
