package controlplane

import (
	"context"
	"maps"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/api/labels"
)

// services returns the Services of the control plane. Their host Services are part of the release. They
// have no selector, because the host routes their addresses.
func (b *bootstrap) services() []*corev1.Service {
	own := map[string]string{labels.ControlPlaneService: "true"}
	var services []*corev1.Service
	if b.config.KubernetesServiceIP != nil {
		port := intstr.FromInt(b.config.Listener.Addr().(*net.TCPAddr).Port)
		services = append(services, systemService(metav1.NamespaceDefault, "kubernetes", b.config.KubernetesServiceIP,
			merged(own, map[string]string{"component": "apiserver", "provider": "kubernetes"}),
			corev1.ServicePort{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: port}))
	}
	if b.config.DNSServiceIP != nil {
		services = append(services, systemService(metav1.NamespaceSystem, "kube-dns", b.config.DNSServiceIP,
			merged(own, map[string]string{
				"k8s-app":                       "kube-dns",
				"kubernetes.io/cluster-service": "true",
				"kubernetes.io/name":            "CoreDNS",
			}),
			corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt(53)},
			corev1.ServicePort{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt(53)}))
	}
	return services
}

// systemService returns a Service without a selector.
func systemService(namespace, name string, address net.IP, labels map[string]string, ports ...corev1.ServicePort) *corev1.Service {
	single := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.ServiceSpec{
			Type:            corev1.ServiceTypeClusterIP,
			ClusterIP:       ip(address),
			IPFamilyPolicy:  &single,
			SessionAffinity: corev1.ServiceAffinityNone,
			Ports:           ports,
		},
	}
}

// merged returns the union of maps; the later ones win.
func merged(parts ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, part := range parts {
		maps.Copy(all, part)
	}
	return all
}

// ensureService creates a Service of the control plane or corrects it. Without
// it, no pod finds the API server or a name.
func (b *bootstrap) ensureService(ctx context.Context, want *corev1.Service) error {
	api := b.client.CoreV1().Services(want.Namespace)
	have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if have.Spec.ClusterIP != want.Spec.ClusterIP {
		// An address cannot be changed, only given up.
		klog.InfoS("The address of a control plane Service has changed", "service", klog.KObj(want),
			"from", have.Spec.ClusterIP, "to", want.Spec.ClusterIP)
		precondition := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(have.UID))}
		if err := api.Delete(ctx, want.Name, precondition); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	next := have.DeepCopy()
	next.Labels = merged(have.Labels, want.Labels)
	next.Spec.Ports, next.Spec.Selector = want.Spec.Ports, nil
	if maps.Equal(next.Labels, have.Labels) && len(have.Spec.Selector) == 0 &&
		slices.EqualFunc(have.Spec.Ports, want.Spec.Ports, samePort) {
		return nil
	}
	_, err = api.Update(ctx, next, metav1.UpdateOptions{})
	return err
}

// samePort reports whether two ports are equal in the fields that the control plane sets.
func samePort(a, b corev1.ServicePort) bool {
	return a.Name == b.Name && a.Protocol == b.Protocol && a.Port == b.Port && a.TargetPort == b.TargetPort
}
