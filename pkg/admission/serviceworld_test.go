package admission

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// internalService is the API server's own form of a Service, which takes a
// conversion to read and to write.
type internalService struct {
	metav1.TypeMeta
	Service corev1.Service
}

func (s *internalService) DeepCopyObject() runtime.Object {
	return &internalService{TypeMeta: s.TypeMeta, Service: *s.Service.DeepCopy()}
}

// internalScheme converts as the API server's scheme does: the two forms share
// memory.
func internalScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := s.AddConversionFunc((*internalService)(nil), (*corev1.Service)(nil), func(from, to any, _ conversion.Scope) error {
		*to.(*corev1.Service) = from.(*internalService).Service
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddConversionFunc((*corev1.Service)(nil), (*internalService)(nil), func(from, to any, _ conversion.Scope) error {
		to.(*internalService).Service = *from.(*corev1.Service)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// fakeHost assigns what a host assigns, or refuses with err.
type fakeHost struct {
	err   error
	calls []string
}

func (h *fakeHost) CreateHostFirst(_ context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	return h.answer("create", kind, virtual, dryRun)
}

func (h *fakeHost) UpdateHostFirst(_ context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	return h.answer("update", kind, virtual, dryRun)
}

func (h *fakeHost) answer(verb, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if dryRun {
		verb = "try to " + verb
	}
	h.calls = append(h.calls, verb+" "+kind+" "+client.ObjectKeyFromObject(virtual).String())
	if h.err != nil {
		return nil, h.err
	}
	host := virtual.DeepCopyObject().(*corev1.Service)
	if host.Spec.ClusterIP == "" {
		host.Spec.ClusterIP, host.Spec.ClusterIPs = "10.96.7.7", []string{"10.96.7.7"}
		host.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	for i := range host.Spec.Ports {
		if host.Spec.Type != corev1.ServiceTypeClusterIP && host.Spec.Ports[i].NodePort == 0 {
			host.Spec.Ports[i].NodePort = 30700 + int32(i)
		}
	}
	if translate.HasHealthCheckPort(&host.Spec) {
		host.Spec.HealthCheckNodePort = 31700
	}
	return host, nil
}

// service returns a Service shop/web with one port, changed by change.
func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

// stored returns a NodePort Service as it is after its creation.
func stored(change func(*corev1.Service)) *corev1.Service {
	return service(func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.7.7", []string{"10.96.7.7"}
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
		s.Spec.Ports[0].NodePort = 30700
		if change != nil {
			change(s)
		}
	})
}
