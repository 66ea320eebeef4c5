package kinds

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// judgeStatus decides about a write to the status of a node. All of it is the
// host's but for extended resources that the host does not have, which a scheduler
// of the virtual cluster counts. Those go into the record, and into both lists of
// after, as a kubelet would do.
func (r nodeRules) judgeStatus(v *verdict, record *nodeRecord, before, after *corev1.Node) {
	was, is := before.Status.DeepCopy(), after.Status.DeepCopy()
	was.Capacity, was.Allocatable, is.Capacity, is.Allocatable = nil, nil, nil, nil
	if !equality.Semantic.DeepEqual(was, is) {
		v.refuse("the status of a node is the host's and cannot be written here")
		return
	}
	record.aside.Capacity, record.aside.Allocatable = cloned(record.aside.Capacity), cloned(record.aside.Allocatable)
	names := map[corev1.ResourceName]bool{}
	for _, list := range []corev1.ResourceList{before.Status.Capacity, before.Status.Allocatable, after.Status.Capacity, after.Status.Allocatable} {
		for name := range list {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if differs(before.Status.Capacity, after.Status.Capacity, name) || differs(before.Status.Allocatable, after.Status.Allocatable, name) {
			r.judgeResource(v, record, before, after, name)
		}
	}
}

func (r nodeRules) judgeResource(v *verdict, record *nodeRecord, before, after *corev1.Node, name corev1.ResourceName) {
	_, hosts := record.agreed[resourcesField][string(name)]
	_, shown := before.Status.Capacity[name]
	_, tenants := record.aside.Capacity[name]
	switch {
	case hosts || shown && !tenants:
		v.refuse("the resource %s of a node is the host's and cannot be changed here", name)
		return
	case !extended(name):
		v.refuse("the resource %s cannot be added to a node: only extended resources such as example.com/dongle can", name)
		return
	case !r.scheduler:
		v.refuse("the resource %s cannot be added to a node: only a scheduler of the virtual cluster would count it. The operator can allow it with %s", name, schedulerKey)
		return
	}
	keepResource(record, before, after, name)
}

// keepResource records what a tenant says that there is of a resource of theirs.
func keepResource(record *nodeRecord, before, after *corev1.Node, name corev1.ResourceName) {
	capacity, has := after.Status.Capacity[name]
	allocatable, can := after.Status.Allocatable[name]
	if !has && (!can || differs(before.Status.Capacity, after.Status.Capacity, name)) {
		for _, list := range []corev1.ResourceList{after.Status.Capacity, after.Status.Allocatable, record.aside.Capacity, record.aside.Allocatable} {
			delete(list, name)
		}
		return
	}
	if !has {
		capacity = allocatable
	}
	if !can || !differs(before.Status.Allocatable, after.Status.Allocatable, name) {
		allocatable = capacity
	}
	after.Status.Capacity, after.Status.Allocatable = cloned(after.Status.Capacity), cloned(after.Status.Allocatable)
	after.Status.Capacity[name], record.aside.Capacity[name] = capacity, capacity
	after.Status.Allocatable[name], record.aside.Allocatable[name] = allocatable, allocatable
}

// cloned is a copy of a list that can be written to.
func cloned(list corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		return corev1.ResourceList{}
	}
	return list.DeepCopy()
}

// differs says whether two lists have different amounts of a resource.
func differs(before, after corev1.ResourceList, name corev1.ResourceName) bool {
	was, had := before[name]
	is, has := after[name]
	return had != has || was.Cmp(is) != 0
}

// extended says whether a resource is one that Kubernetes itself does not know.
func extended(name corev1.ResourceName) bool {
	domain, _, qualified := strings.Cut(string(name), "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") &&
		!strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}
