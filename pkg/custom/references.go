package custom

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// hostName returns the name on the host of what a field names.
func (w *walk) hostName(n *node, name, path string) string {
	if slices.Contains(n.unchanged, name) {
		return name
	}
	virtual := types.NamespacedName{Namespace: w.namespace, Name: name}
	switch {
	case n.target.host != nil && n.target.host.IsNamespaced():
		if namespace, base, ok := strings.Cut(name, "/"); ok {
			virtual = types.NamespacedName{Namespace: namespace, Name: base}
		}
		return w.mappedHostKey(n.target, virtual, path).String()
	case n.target.resource == services:
		virtual.Name = w.serviceName(name, path)
	}
	return w.hostKey(n.target, virtual, path).Name
}

// hostKey returns the key of the host object behind a virtual one, and collects it for the purpose of the
// walk. The key of an object without a namespace is its name alone.
func (w *walk) hostKey(t target, virtual types.NamespacedName, path string) types.NamespacedName {
	scheme := translate.Scheme(translate.Hashed)
	switch {
	case t.listed:
		w.denyUnruled(path, virtual.Name, "must be a name that the rule lists")
		return types.NamespacedName{Name: virtual.Name}
	case t.host != nil && t.host.IsNamespaced():
		return w.mappedHostKey(t, virtual, path)
	case t.host != nil:
		w.requireShown(t, types.NamespacedName{Name: virtual.Name}, path)
		return types.NamespacedName{Name: virtual.Name}
	case t.produced:
		w.refs.Produced = append(w.refs.Produced, virtual.Name)
		scheme = translate.Derived(ProducedRole(w.resource))
	case t.resource == secrets:
		w.refs.Secrets = append(w.refs.Secrets, virtual.Name)
		scheme = translate.Derived(Role(w.resource))
	case t.resource == configMaps:
		w.refs.ConfigMaps = append(w.refs.ConfigMaps, virtual.Name)
		scheme = translate.Derived(Role(w.resource))
	}
	if !w.needsHostNames() {
		return virtual
	}
	host := scheme(w.cluster, virtual)
	if w.purpose == collectHostNames {
		w.names.Own[host.Name] = virtual.Name
	}
	return host
}

// mappedHostKey returns the key of the host object that a mapping shows under a virtual key.
func (w *walk) mappedHostKey(t target, virtual types.NamespacedName, path string) types.NamespacedName {
	namespace, name, ok := t.host.Mappings.HostKey(virtual.Namespace, virtual.Name)
	if !ok {
		w.deny(path, virtual.String(), "is no object that the host shows")
		return virtual
	}
	w.requireShown(t, virtual, path)
	if !w.needsHostNames() {
		return virtual
	}
	if namespace == "" {
		namespace = w.cluster.Namespace
	}
	host := types.NamespacedName{Namespace: namespace, Name: name}
	if w.purpose == collectHostNames {
		w.names.Mapped[host] = virtual
	}
	return host
}

// requireShown denies an object of the host that the tenant does not see.
func (w *walk) requireShown(t target, virtual types.NamespacedName, path string) {
	if w.purpose == collectProblems && !w.isFull() && !w.isShown(shownKey{t.resource, virtual}) {
		w.deny(path, virtual.Name, "is no object of "+t.resource+" that the host shows")
	}
}

// isShown reports whether the tenant sees an object of the host. A walk asks once for each object.
func (w *walk) isShown(key shownKey) bool {
	shown, known := w.shown[key]
	if !known {
		shown = w.plan.shown(key.resource, key.key.Namespace, key.key.Name)
		if w.shown == nil {
			w.shown = map[shownKey]bool{}
		}
		w.shown[key] = shown
	}
	return shown
}

// serviceName returns the name of a Service without the domain of its own namespace.
func (w *walk) serviceName(name, path string) string {
	base, domain, ok := strings.Cut(name, ".")
	if !ok {
		return name
	}
	if !slices.Contains([]string{w.namespace, w.namespace + ".svc", w.namespace + ".svc." + w.plan.domain}, domain) {
		w.deny(path, name, "must be a Service of the namespace "+w.namespace)
	}
	return base
}

// renameReferences replaces an object with kind and name, or each object of a list.
func (w *walk) renameReferences(n *node, value any, path string) {
	switch value := value.(type) {
	case []any:
		for i := range value {
			w.renameReferences(n, value[i], fmt.Sprintf("%s[%d]", path, i))
		}
	case map[string]any:
		w.visitReference(n, value, path)
	default:
		w.denyUnruled(path, nil, "must be an object with kind and name by its rule")
	}
}

// visitReference replaces the name and the namespace of an object that refers to another one.
func (w *walk) visitReference(n *node, value map[string]any, path string) {
	w.visitFields(&node{fields: n.fields}, value, path)
	kind := w.textOf(value, "kind", path)
	if kind == "" {
		kind = n.kind
	}
	t, ok := n.targets[kind]
	if !ok {
		w.denyUnruled(join(path, "kind"), kind, "must be one of "+strings.Join(slices.Sorted(maps.Keys(n.targets)), ", "))
		return
	}
	w.requireGroup(t, value, path)
	name, namespace := w.textOf(value, "name", path), w.textOf(value, "namespace", path)
	switch {
	case name == "" && namespace != "":
		w.deny(join(path, "name"), "", "must be set, as the namespace is")
	case name != "" && (namespace != "" || !slices.Contains(n.unchanged, name)):
		w.renameReference(t, value, types.NamespacedName{Namespace: namespace, Name: name}, path)
	}
}

// renameReference replaces the name and the namespace of an object that refers to another one by
// those of the host. An empty namespace is that of the object itself.
func (w *walk) renameReference(t target, value map[string]any, named types.NamespacedName, path string) {
	isMapped, hasNamespace := t.host != nil && t.host.IsNamespaced(), named.Namespace != ""
	if !isMapped && hasNamespace {
		w.hostNamespace(&node{}, named.Namespace, join(path, "namespace"))
	}
	if !isMapped || !hasNamespace {
		named.Namespace = w.namespace
	}
	if t.resource == services {
		named.Name = w.serviceName(named.Name, join(path, "name"))
	}
	host := w.hostKey(t, named, join(path, "name"))
	if w.purpose != renameToHost {
		return
	}
	value["name"] = host.Name
	if isMapped || hasNamespace {
		value["namespace"] = host.Namespace
	}
}

// textOf returns a field of an object that refers to another one, empty if it has none.
func (w *walk) textOf(value map[string]any, key, path string) string {
	text, isText := value[key].(string)
	if value[key] != nil && !isText {
		w.deny(join(path, key), nil, "must be text by its rule")
	}
	return text
}

// requireGroup denies an object of another API group than that of the target.
func (w *walk) requireGroup(t target, value map[string]any, path string) {
	_, want, _ := strings.Cut(t.resource, ".")
	for _, key := range []string{"group", "apiGroup", "apiVersion"} {
		set, ok := value[key]
		if !ok {
			continue
		}
		group, isText := set.(string)
		if key == "apiVersion" {
			before, _, versioned := strings.Cut(group, "/")
			group = ""
			if versioned {
				group = before
			}
		}
		if !isText || group != want {
			w.denyUnruled(join(path, key), set, fmt.Sprintf("must be of the group %q", want))
		}
	}
}

// hostsSetting is the path of the host names that the tenant may use.
const hostsSetting = "policies.ingresses.hosts"

// checkHostnames checks a host name, or a list of them.
func (w *walk) checkHostnames(n *node, value any, path string) {
	switch value := value.(type) {
	case string:
		w.checkHostname(n, value, path)
	case []any:
		if len(value) == 0 && !n.optional {
			w.checkHostname(n, "", path)
		}
		for i := range value {
			w.checkHostnames(n, value[i], fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		w.denyUnruled(path, nil, "must be a host name or a list of them by its rule")
	}
}

// checkHostname denies a host name that the tenant may not use. An empty one is that of all names.
func (w *walk) checkHostname(n *node, host, path string) {
	switch {
	case host == "" && n.optional, slices.Contains(n.unchanged, host), w.plan.allowsHost(host):
		return
	case host == "":
		w.denyBySetting(hostsSetting, path, nil, "is left out, so that it would have all host names")
	default:
		w.denyBySetting(hostsSetting, path, host, "this host name is not the tenant's")
	}
}
