package check

import (
	"context"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// defaultClass is the annotation of the StorageClass that a claim without a class gets.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

// checkStorage checks that the class of the claim of the control plane exists. A tenant's claims need
// a default class.
func (t *target) checkStorage(ctx context.Context) result {
	const name = "storage"
	classes, err := t.client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return skip(name, "the user may not list StorageClasses")
	}
	names, defaults := []string{}, []string{}
	for _, class := range classes.Items {
		names = append(names, class.Name)
		if isDefault(class) {
			defaults = append(defaults, class.Name)
		}
	}
	slices.Sort(names)
	wanted, claims := t.claimClass()
	switch {
	case claims && wanted == "" && len(defaults) == 0:
		return fail(name, "Set controlPlane.statefulSet.persistence.volumeClaim.storageClass, or let the host have a default class. Without data to keep, set …volumeClaim.enabled=false.",
			"the claim of the control plane needs a default StorageClass, and the host has none of its %d classes as default", len(names))
	case claims && wanted != "" && !slices.Contains(names, wanted):
		return fail(name, "Use one of: "+enumerate(names), "StorageClass %s does not exist", wanted)
	case len(defaults) == 0:
		return warn(name, defaultClassFix(names), "the host has no default StorageClass: claims of the tenant that name none stay pending")
	}
	return pass(name, "the default StorageClass is %s", enumerate(defaults))
}

// isDefault reports whether claims without a class get this one.
func isDefault(class storagev1.StorageClass) bool { return class.Annotations[defaultClass] == "true" }

// claimClass returns the class of the claim of the control plane. claims is false if it has none.
func (t *target) claimClass() (class string, claims bool) {
	set := t.workload()
	if set == nil || len(set.Spec.VolumeClaimTemplates) == 0 {
		return "", false
	}
	if class := set.Spec.VolumeClaimTemplates[0].Spec.StorageClassName; class != nil {
		return *class, true
	}
	return "", true
}

// checkDNS checks that the DNS of the host has endpoints: the virtual DNS forwards to it.
func (t *target) checkDNS(ctx context.Context) result {
	const name = "dns"
	services, err := t.client.CoreV1().Services("kube-system").List(ctx, metav1.ListOptions{})
	if err != nil {
		return skip(name, "the user may not list Services in kube-system")
	}
	for i := range services.Items {
		service := &services.Items[i]
		if service.Labels["k8s-app"] != "kube-dns" && !strings.Contains(service.Name, "dns") {
			continue
		}
		slicesOf, err := t.client.DiscoveryV1().EndpointSlices("kube-system").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service.Name})
		if err != nil {
			return skip(name, "the user may not list EndpointSlices in kube-system")
		}
		if ready := countReady(slicesOf.Items); ready > 0 {
			return pass(name, "Service kube-system/%s has %d ready endpoints", service.Name, ready)
		}
		return fail(name, "Look at its pods with: kubectl -n kube-system get pods -l k8s-app=kube-dns", "Service kube-system/%s has no ready endpoint", service.Name)
	}
	return warn(name, "If the host has its DNS elsewhere, this is fine. Pods of the tenant resolve other names with the host's DNS.", "no DNS Service in namespace kube-system")
}

// countReady returns the number of ready endpoints.
func countReady(list []discoveryv1.EndpointSlice) int {
	ready := 0
	for i := range list {
		for _, endpoint := range list[i].Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				ready += len(endpoint.Addresses)
			}
		}
	}
	return ready
}

// defaultClassFix returns what to do about a host without a default class.
func defaultClassFix(names []string) string {
	if len(names) == 0 {
		return "Let the host have a StorageClass, as the default."
	}
	return "Let the host have a default class, or tell the tenant which to name: " + enumerate(names)
}
