package kinds

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Ingresses copies the tenant's Ingresses to the host, whose controllers serve them. It does not copy
// an Ingress whose class is not one of the host: a controller in the virtual cluster may serve it.
//
// A host name belongs to the first Ingress that has it. The copy is only created if no other Ingress
// of the host has one of its host names. They are looked up again after that, so that one of two
// Ingresses that were created at the same time is deleted.
func Ingresses(o Options) syncer.Resource[*networkingv1.Ingress, *networkingv1.Ingress] {
	i := ingresses{rules: o.Ingresses, names: o.HostNames, classes: toSelector(o.Sync.SelectorOf("sync.fromHost.ingressClasses"))}
	if i.rules == nil {
		i.rules = &policy.Ingresses{}
	}
	r := syncer.Resource[*networkingv1.Ingress, *networkingv1.Ingress]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Load:  i.load,
		Want: func(s syncer.Scope, _, host *networkingv1.Ingress) (bool, error) {
			state := syncer.Loaded[ingressState](s)
			return state.isHosts && (host == nil || len(state.taken) == 0 || claimsAll(host)), nil
		},
		Down: i.fill,
		Up: func(_ syncer.Scope, host, virtual *networkingv1.Ingress) error {
			virtual.Status = host.Status
			return nil
		},
	}
	if i.rules.ShowsClasses {
		r.Also = []syncer.Watch{{Side: syncer.Host, Object: &networkingv1.IngressClass{}, All: true, Keys: ingressesOfClass}}
	}
	return r
}

// ingresses are the functions of the kind.
type ingresses struct {
	rules   *policy.Ingresses
	names   HostNames
	classes apilabels.Selector // of the classes that the tenant sees
}

// ingressState is the state that load reads for an Ingress.
type ingressState struct {
	// isHosts is true if a controller of the host serves the Ingress, with class.
	isHosts bool
	class   string
	// taken has its host names that other Ingresses have. They are no longer looked up once the
	// copy has been found to own all of its host names.
	taken []string
}

// load decides who serves the Ingress, and looks up who else has its host names.
func (i ingresses) load(s syncer.Scope, virtual, host *networkingv1.Ingress) (any, error) {
	if virtual == nil {
		return ingressState{}, nil
	}
	var all networkingv1.IngressClassList
	if i.rules.ShowsClasses {
		if err := s.Host.List(s.Context, &all, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("cannot list ingress classes of the host: %w", err)
		}
	}
	shown := slices.DeleteFunc(slices.Clone(all.Items), func(c networkingv1.IngressClass) bool { return !i.classes.Matches(apilabels.Set(c.Labels)) })
	state := ingressState{}
	state.class, state.isHosts = i.rules.HostClass(virtual, shown)
	state.isHosts = state.isHosts || i.rules.ShowsClasses && keepsClass(state.class, host, all.Items, shown)
	hosts := translate.IngressHosts(&virtual.Spec)
	if !state.isHosts || i.names == nil || host != nil && host.Annotations[labels.ClaimedHosts] == joinHosts(hosts) {
		return state, nil
	}
	var err error
	if state.taken, err = i.names.Taken(s.Context, hosts, host); err != nil {
		return nil, fmt.Errorf("cannot look up the host names of Ingresses: %w", err)
	}
	return state, nil
}

// keepsClass reports whether a copy keeps the class that it has. The host has given it to an Ingress
// without one, before the tenant saw classes. Or the class is gone from the host: whoever installs
// its controller again must not find a load balancer gone that others know.
func keepsClass(class string, host *networkingv1.Ingress, all, shown []networkingv1.IngressClass) bool {
	if host == nil || host.Spec.IngressClassName == nil {
		return false
	}
	has := func(classes []networkingv1.IngressClass) bool {
		return slices.ContainsFunc(classes, func(c networkingv1.IngressClass) bool { return c.Name == *host.Spec.IngressClassName })
	}
	if class == "" {
		return has(shown)
	}
	return class == *host.Spec.IngressClassName && !has(all)
}

// fill fills in the host copy. It returns an [translate.UnsupportedError] if the host must
// not serve the Ingress.
func (i ingresses) fill(s syncer.Scope, virtual, host *networkingv1.Ingress) error {
	// Admission denies it, unless it was stored before the policy. Admission does not know which
	// host names are taken.
	if violations := i.rules.Check(nil, virtual); len(violations) > 0 {
		return &translate.UnsupportedError{Problems: []error{errors.New(policy.ShortMessage(violations))}}
	}
	state := syncer.Loaded[ingressState](s)
	if len(state.taken) > 0 {
		return &translate.UnsupportedError{Problems: []error{fmt.Errorf(
			"spec.rules: the host name %s belongs to an Ingress of somebody else on the host; use another one", translate.HostText(state.taken[0]))}}
	}
	claimed := i.claimedHosts(virtual, host)
	host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
	host.Annotations = translate.SyncAnnotations(host.Annotations, virtual.Annotations, i.rules.PassesAnnotation)
	byHost := host.Spec.IngressClassName
	host.Spec = translate.IngressSpec(s.Cluster, virtual, state.class)
	// The host gives its default class to an Ingress without one, when that is created.
	class, err := translate.KeepUnlessSet(host, "spec.ingressClassName", host.Spec.IngressClassName, byHost)
	if err != nil {
		return err
	}
	host.Spec.IngressClassName = class
	delete(host.Annotations, labels.ClaimedHosts)
	if len(claimed) > 0 {
		metav1.SetMetaDataAnnotation(&host.ObjectMeta, labels.ClaimedHosts, joinHosts(claimed))
	}
	return nil
}

// claimedHosts returns the host names of an Ingress that its copy claims. These are all if the copy has been
// looked up with them, and else those that it has claimed before. Without that, a change of one name would open
// the others to an older Ingress of another tenant.
func (i ingresses) claimedHosts(virtual, host *networkingv1.Ingress) []string {
	if i.names == nil || host.UID == "" {
		return nil
	}
	hosts := translate.IngressHosts(&virtual.Spec)
	if slices.Equal(translate.IngressHosts(&host.Spec), hosts) {
		return hosts
	}
	return slices.DeleteFunc(hosts, func(name string) bool { return !translate.ClaimsHost(host, name) })
}

// claimsAll reports whether a copy claims all host names that it has.
func claimsAll(host *networkingv1.Ingress) bool {
	return !slices.ContainsFunc(translate.IngressHosts(&host.Spec), func(name string) bool { return !translate.ClaimsHost(host, name) })
}

// joinHosts returns host names as one text.
func joinHosts(hosts []string) string {
	names := make([]string, len(hosts))
	for i, host := range hosts {
		names[i] = translate.HostText(host)
	}
	return strings.Join(names, ",")
}

// ingressRefs returns what an Ingress refers to.
func ingressRefs(object client.Object) Refs {
	ingress, ok := object.(*networkingv1.Ingress)
	if !ok {
		return Refs{}
	}
	return Refs{Secrets: translate.IngressSecrets(ingress)}
}

// ingressesOfClass returns the virtual Ingresses that name an ingress class.
func ingressesOfClass(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	var all networkingv1.IngressList
	if err := s.Virtual.List(s.Context, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list Ingresses: %w", err)
	}
	return keysOf(all.Items, func(i *networkingv1.Ingress) bool { return policy.IngressClass(i) == object.GetName() }), nil
}
