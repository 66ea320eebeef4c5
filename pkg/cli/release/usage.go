package release

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
)

// podMetrics is a list of the metrics API, as far as it is read here.
type podMetrics struct {
	Items []struct {
		Metadata   metav1.ObjectMeta `json:"metadata"`
		Containers []struct {
			Usage corev1.ResourceList `json:"usage"`
		} `json:"containers"`
	} `json:"items"`
}

// AddUsage adds what the tenants' pods and the control planes use, from the metrics API of the host. It
// leaves clusters as they are if the host has none, or the user may not read it.
func AddUsage(ctx context.Context, client kubernetes.Interface, namespace string, clusters []Cluster) error {
	tenants, err := listMetrics(ctx, client, namespace, labels.Release)
	if tenants == nil || err != nil {
		return err
	}
	own, err := listMetrics(ctx, client, namespace, ControlPlanes)
	if own == nil || err != nil {
		return err
	}
	byName := map[release.Release]*Cluster{}
	for i := range clusters {
		clusters[i].HasUsage = true
		byName[clusters[i].Release] = &clusters[i]
	}
	tenants.addTo(labels.Release, byName, func(c *Cluster) (cpu, memory *resource.Quantity) { return &c.UsedCPU, &c.UsedMemory })
	own.addTo("app.kubernetes.io/instance", byName, func(c *Cluster) (cpu, memory *resource.Quantity) { return &c.OwnCPU, &c.OwnMemory })
	return nil
}

// addTo adds the usage of each pod to the release that a label of the pod names.
func (m *podMetrics) addTo(label string, byName map[release.Release]*Cluster, fields func(*Cluster) (cpu, memory *resource.Quantity)) {
	for i := range m.Items {
		pod := &m.Items[i]
		cluster := byName[release.Release{Name: pod.Metadata.Labels[label], Namespace: pod.Metadata.Namespace}]
		if cluster == nil {
			continue
		}
		cpu, memory := fields(cluster)
		for _, container := range pod.Containers {
			cpu.Add(*container.Usage.Cpu())
			memory.Add(*container.Usage.Memory())
		}
	}
}

// listMetrics returns the usage of pods, nil if the host has no metrics API for the user.
func listMetrics(ctx context.Context, client kubernetes.Interface, namespace, selector string) (*podMetrics, error) {
	path := "/apis/metrics.k8s.io/v1beta1/pods"
	if namespace != "" {
		path = "/apis/metrics.k8s.io/v1beta1/namespaces/" + namespace + "/pods"
	}
	body, err := client.Discovery().RESTClient().Get().AbsPath(path).Param("labelSelector", selector).SetHeader("Accept", "application/json").DoRaw(ctx)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err), apierrors.IsServiceUnavailable(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot list the metrics of pods: %w", err)
	}
	list := &podMetrics{}
	if err := json.Unmarshal(body, list); err != nil {
		return nil, fmt.Errorf("cannot read the metrics of pods: %w", err)
	}
	return list, nil
}
