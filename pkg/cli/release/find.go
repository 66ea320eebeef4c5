// Package release finds the virtual clusters of a host, and installs, upgrades and uninstalls
// them with Helm.
package release

import (
	"context"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

const (
	// ControlPlanes selects the workloads and the pods of control planes.
	ControlPlanes = "app.kubernetes.io/name=sublet,app.kubernetes.io/component=control-plane"
	anchors       = "app.kubernetes.io/name=sublet,app.kubernetes.io/component=anchor"
)

// Cluster is one virtual cluster as its host shows it.
type Cluster struct {
	release.Release
	// Context is the context of its host.
	Context string
	// Status is Ready, NotReady, Stopped, Deleting or Unreachable. Reason is why it is not ready.
	Status, Reason string
	// Version is the version of Sublet.
	Version string
	// Replicas and Ready count pods of the control plane.
	Replicas, Ready int32
	// Store is where the store is, as in "etcd.embedded".
	Store string
	// Pods counts the tenant's pods on the host, Nodes the nodes that they use. CPU and
	// Memory are the sums of their requests. All are valid if HasRequests is true.
	Pods, Nodes int
	CPU, Memory resource.Quantity
	HasRequests bool
	// UsedCPU and UsedMemory are what the tenant's pods use, OwnCPU and OwnMemory what the control plane
	// uses. All are valid if HasUsage is true: see AddUsage.
	UsedCPU, UsedMemory, OwnCPU, OwnMemory resource.Quantity
	HasUsage                               bool
	// GitOps is what keeps it as a repository has it, empty if nothing is known that does: see CheckOwner.
	GitOps string
	// Created is when it was created.
	Created time.Time
}

// List returns the virtual clusters in a namespace, or in all if it is empty, by namespace and
// name. It sends three requests. Without the permission to list pods, the clusters have no requests.
func List(ctx context.Context, client kubernetes.Interface, namespace string) ([]Cluster, error) {
	clusters, _, err := ListWithVersion(ctx, client, namespace)
	return clusters, err
}

// ListWithVersion does what List does. It also returns the version from which a watch of the
// StatefulSets continues.
func ListWithVersion(ctx context.Context, client kubernetes.Interface, namespace string) (clusters []Cluster, version string, err error) {
	workloads, err := client.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: ControlPlanes})
	if err != nil {
		return nil, "", fault.Wrap(err, "cannot list StatefulSets")
	}
	if len(workloads.Items) == 0 {
		return nil, workloads.ResourceVersion, nil
	}
	marks, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: anchors})
	if err != nil {
		return nil, "", fault.Wrap(err, "cannot list ConfigMaps")
	}
	clusters = make([]Cluster, 0, len(workloads.Items))
	for i := range workloads.Items {
		clusters = append(clusters, FromWorkload(&workloads.Items[i]))
	}
	stores := map[string]string{} // namespace/name of the anchor -> store
	for i := range marks.Items {
		stores[marks.Items[i].Namespace+"/"+marks.Items[i].Name] = marks.Items[i].Annotations[labels.StoreLocation]
	}
	for i := range clusters {
		clusters[i].Store = stores[clusters[i].Namespace+"/"+clusters[i].Anchor()]
	}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Release})
	switch {
	case apierrors.IsForbidden(err):
	case err != nil:
		return nil, "", fault.Wrap(err, "cannot list pods")
	default:
		addRequests(clusters, pods.Items)
	}
	Sort(clusters)
	return clusters, workloads.ResourceVersion, nil
}

// Sort sorts clusters by namespace and name.
func Sort(clusters []Cluster) {
	slices.SortFunc(clusters, func(a, b Cluster) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
}

// WithRequestsOf returns the cluster with the store and the requests of an earlier one.
func (c Cluster) WithRequestsOf(earlier Cluster) Cluster {
	c.Store, c.Pods, c.Nodes, c.CPU, c.Memory, c.HasRequests = earlier.Store, earlier.Pods, earlier.Nodes, earlier.CPU, earlier.Memory, earlier.HasRequests
	return c
}

// FromWorkload returns the cluster of a StatefulSet.
func FromWorkload(workload *appsv1.StatefulSet) Cluster {
	cluster := Cluster{
		Release: release.Release{Name: workload.Labels["app.kubernetes.io/instance"], Namespace: workload.Namespace},
		Version: workload.Labels["app.kubernetes.io/version"],
		Ready:   workload.Status.ReadyReplicas, Replicas: 1, Created: workload.CreationTimestamp.Time,
		GitOps: gitOpsOwner(workload),
	}
	if workload.Spec.Replicas != nil {
		cluster.Replicas = *workload.Spec.Replicas
	}
	switch {
	case workload.DeletionTimestamp != nil:
		cluster.Status = "Deleting"
	case cluster.Replicas == 0:
		cluster.Status = "Stopped"
	case cluster.Ready < cluster.Replicas:
		cluster.Status = "NotReady"
	default:
		cluster.Status = "Ready"
	}
	return cluster
}

// addRequests counts the tenants' pods and nodes, and adds up the requests of the pods.
func addRequests(clusters []Cluster, pods []corev1.Pod) {
	byName := map[release.Release]*Cluster{}
	nodes := map[string]bool{}
	for i := range clusters {
		clusters[i].HasRequests = true
		byName[clusters[i].Release] = &clusters[i]
	}
	for i := range pods {
		pod := &pods[i]
		cluster := byName[release.Release{Name: pod.Labels[labels.Release], Namespace: pod.Namespace}]
		if cluster == nil {
			continue
		}
		cluster.Pods++
		if key := pod.Namespace + "/" + cluster.Name + "/" + pod.Spec.NodeName; pod.Spec.NodeName != "" && !nodes[key] {
			nodes[key] = true
			cluster.Nodes++
		}
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, container := range pod.Spec.Containers {
			cluster.CPU.Add(*container.Resources.Requests.Cpu())
			cluster.Memory.Add(*container.Resources.Requests.Memory())
		}
	}
}

// TenantNamespace returns the namespace that create uses if neither flag nor context has one.
func TenantNamespace(name string) string { return "tenant-" + name }

// Find returns the release of the given name. It looks in the namespace of the flags if that is
// set. Else it looks in that of the context, in the one that create uses, and then everywhere.
func Find(ctx context.Context, h *host.Host, name string) (*Cluster, error) {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return nil, fault.New(fault.Usage, "List those that exist with: sublet list -A", "%q is no name of a virtual cluster", name)
	}
	candidates := []string{h.Namespace}
	if *h.Getter.Namespace == "" {
		candidates = append(candidates, TenantNamespace(name))
	}
	var denied error
	for _, namespace := range candidates {
		workload, err := h.Client.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil && workload.Labels["app.kubernetes.io/name"] == "sublet":
			cluster := FromWorkload(workload)
			return &cluster, nil
		case apierrors.IsForbidden(err):
			denied = err
		case err != nil && !apierrors.IsNotFound(err):
			return nil, fault.Wrap(err, "cannot get virtual cluster %s/%s", namespace, name)
		}
	}
	if *h.Getter.Namespace != "" {
		if denied != nil {
			return nil, fault.Wrap(denied, "cannot get virtual cluster %s/%s", h.Namespace, name)
		}
		return nil, fault.New(fault.NotFound, "List those of all namespaces with: sublet list -A", "virtual cluster %s/%s does not exist", h.Namespace, name)
	}
	return findEverywhere(ctx, h, name, denied)
}

// FindHost returns the release of the given name, and its host with its namespace.
func FindHost(ctx context.Context, env *host.Env, name string) (*host.Host, *Cluster, error) {
	h, err := env.Host()
	if err != nil {
		return nil, nil, err
	}
	cluster, err := Find(ctx, h, name)
	if err != nil {
		return nil, nil, err
	}
	return h.WithNamespace(cluster.Namespace), cluster, nil
}

// findEverywhere looks for a release in all namespaces.
func findEverywhere(ctx context.Context, h *host.Host, name string, denied error) (*Cluster, error) {
	selector := ControlPlanes + ",app.kubernetes.io/instance=" + name
	workloads, err := h.Client.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{LabelSelector: selector})
	if apierrors.IsForbidden(err) {
		if denied != nil {
			return nil, fault.Wrap(denied, "cannot get virtual cluster %s", name)
		}
		return nil, fault.New(fault.NotFound, "Name its namespace with -n, as you may not list those of all namespaces.",
			"virtual cluster %s does not exist in namespace %s or %s", name, h.Namespace, TenantNamespace(name))
	}
	if err != nil {
		return nil, fault.Wrap(err, "cannot list StatefulSets")
	}
	switch len(workloads.Items) {
	case 0:
		return nil, fault.New(fault.NotFound, "List those that exist with: sublet list -A", "virtual cluster %s does not exist in any namespace", name)
	case 1:
		cluster := FromWorkload(&workloads.Items[0])
		return &cluster, nil
	}
	namespaces := []string{}
	for _, workload := range workloads.Items {
		namespaces = append(namespaces, workload.Namespace)
	}
	slices.Sort(namespaces)
	return nil, fault.New(fault.Usage, "Name its namespace: -n "+strings.Join(namespaces, ", or -n "),
		"%d virtual clusters have the name %s", len(namespaces), name)
}
