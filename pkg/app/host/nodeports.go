package host

import (
	"context"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

const (
	// noPort is an invalid port number, so it is outside of every node port range.
	noPort = 70000
	// nodePortTimeout bounds the question for the node port range. A start can do without the answer, and an
	// attempt needs the rest of askTimeout for its claim.
	nodePortTimeout = askTimeout / 3
)

// hostNodePorts returns the node port range of the host, such as 30000-32767. No API returns it,
// and a dry run does not check it. But the host names it when it rejects a node port outside of
// the range. So hostNodePorts tries to create a Service with such a port. The result is empty if
// the range is unknown, and also if admission webhooks for Services are slow.
func (d *Discovery) hostNodePorts(ctx context.Context) string {
	if d.NodePortRange != "" || !d.AsksNodePorts {
		return d.NodePortRange
	}
	ctx, cancel := context.WithTimeout(ctx, nodePortTimeout)
	defer cancel()
	services := d.Client.CoreV1().Services(d.Release.Namespace)
	created, err := services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: d.Release.Name + "-no-port", Labels: d.Release.Labels()},
		Spec: corev1.ServiceSpec{
			Type:  corev1.ServiceTypeNodePort,
			Ports: []corev1.ServicePort{{Port: 1, NodePort: noPort, Protocol: corev1.ProtocolTCP}},
		},
	}, metav1.CreateOptions{})
	if err == nil {
		err = services.Delete(ctx, created.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(created.UID))})
	}
	if found := rangeInRefusal(err); found != "" {
		return found
	}
	klog.InfoS("The range of node ports of the host is unknown, using the default of Kubernetes; set networking.serviceNodePortRange if it has another", "err", err)
	return ""
}

// rangeInRefusal returns the range that the host names when it rejects a node port.
func rangeInRefusal(err error) string {
	if !apierrors.IsInvalid(err) {
		return ""
	}
	match := regexp.MustCompile(`range of valid ports is ([0-9]+-[0-9]+)`).FindStringSubmatch(err.Error())
	if match == nil {
		return ""
	}
	return match[1]
}
