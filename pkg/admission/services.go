package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// HostFirst writes the host copy of a virtual object before the virtual object itself
// is written. Both methods return the host object as the host's API server stored it,
// and nil if the object has no copy. The engine implements it.
type HostFirst interface {
	// CreateHostFirst creates the host copy of an object that does not exist yet.
	CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error)
	// UpdateHostFirst applies a pending change of an object to its host copy.
	UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error)
}

// ServiceOptions configure [Services].
type ServiceOptions struct {
	// Host writes the host Services.
	Host HostFirst
	// Rules decide what a tenant may ask of the host.
	// Default: nil, which allows everything.
	Rules *policy.Services
	// IsSyncer reports whether a request comes from the syncer, for which no rule holds.
	// Default: no request does.
	IsSyncer func(ctx context.Context) bool
	// Sent returns what the syncer has sent, if the tenant has altered it. Rules hold for the alterations.
	// Default: nothing is altered.
	Sent SentObject
}

// ServiceSteps are the steps of [Services].
type ServiceSteps struct {
	host     HostFirst
	rules    *policy.Services
	isSyncer func(ctx context.Context) bool
	sent     SentObject
}

// Services returns the admission steps that create the host Service before the virtual one, and copy the
// host's addresses and node ports into it. So a Service has its final address when it is created. A refusal of
// the host is the error of the tenant's request. An update that requests other ports or
// another type is also applied host-first.
//
// If the virtual Service cannot be stored, the engine deletes the host Service. After a failed update, it
// applies the stored virtual Service again.
func Services(options ServiceOptions) *ServiceSteps {
	steps := &ServiceSteps{host: options.Host, rules: options.Rules, isSyncer: options.IsSyncer, sent: options.Sent}
	if steps.isSyncer == nil {
		steps.isSyncer = func(context.Context) bool { return false }
	}
	return steps
}

// Prepare denies what the rules do not allow, and reports whether a request changes what the host assigns. If
// a Service only has a generateName, it generates the name, because the host name depends on it.
//
// The rules are checked here and not at validation. In between, the API server fills in addresses and ports
// that the tenant has not requested.
func (p *ServiceSteps) Prepare(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (bool, error) {
	if a.GetResource().GroupResource() != corev1.Resource("services") || !isWrite(a) {
		return false, nil
	}
	virtual, old, err := readServices(a, o)
	if err != nil || !translate.ShouldCopyService(virtual) {
		return false, err
	}
	if a.GetSubresource() != "" {
		virtual.Spec = old.Spec // The API server stores no other with a status.
	}
	old = ifEvaluated(old)
	if err := p.check(ctx, a, o, old, virtual); err != nil {
		return false, err
	}
	if virtual.Spec.Type == corev1.ServiceTypeExternalName || a.GetSubresource() != "" {
		return false, nil // It is a name of the virtual DNS, and has no copy. Or the syncer creates the copy.
	}
	if old != nil {
		return needsHost(old, virtual), nil
	}
	if virtual.Name == "" && virtual.GenerateName != "" {
		virtual.Name = generateName(virtual.GenerateName)
		return true, fromV1(virtual, a.GetObject(), o)
	}
	return true, nil
}

// ifEvaluated returns the stored state of a Service, nil if no rule has checked it, as it has no
// copy.
func ifEvaluated(old *corev1.Service) *corev1.Service {
	if old == nil || !translate.ShouldCopyService(old) {
		return nil
	}
	return old
}

// check denies a Service that the rules do not allow. Of a write of the syncer it checks what the tenant has
// altered.
func (p *ServiceSteps) check(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, old, virtual *corev1.Service) error {
	if p.rules == nil {
		return nil
	}
	if p.isSyncer(ctx) {
		sent := p.sent.of(ctx)
		if sent == nil {
			return nil
		}
		var err error
		if old, err = toV1[corev1.Service](sent, o); err != nil {
			return err
		}
		old = ifEvaluated(old)
	}
	for _, text := range p.rules.Warnings(old, virtual) {
		warning.AddWarning(ctx, "", text)
	}
	if violations := p.rules.Check(old, virtual); len(violations) > 0 {
		return deny(a, "%s", policy.Message(violations))
	}
	return nil
}

// Apply creates or changes the host Service, and copies what the host assigned.
func (p *ServiceSteps) Apply(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	virtual, old, err := readServices(a, o)
	if err != nil {
		return err
	}
	host, err := p.write(ctx, a, virtual, old)
	if err != nil || host == nil || a.IsDryRun() {
		// In a dry run an API server returns the first address of its range, which
		// is nobody's. The virtual API server returns the same.
		return err
	}
	translate.CopyAssigned(host, virtual)
	return fromV1(virtual, a.GetObject(), o)
}

// readServices returns the Service of a request, and its stored state. old is nil if there
// is none.
func readServices(a admission.Attributes, o admission.ObjectInterfaces) (virtual, old *corev1.Service, err error) {
	if virtual, err = toV1[corev1.Service](a.GetObject(), o); err != nil {
		return nil, nil, err
	}
	virtual.Namespace = a.GetNamespace()
	if a.GetOperation() != admission.Update {
		return virtual, nil, nil
	}
	if old, err = toV1[corev1.Service](a.GetOldObject(), o); err != nil {
		return nil, nil, err
	}
	if old.Spec.Type == virtual.Spec.Type {
		translate.CopyAssigned(old, virtual)
	}
	dropTypeDependent(old, virtual)
	return virtual, old, nil
}

// needsHost reports whether an update requests something that the host assigns. Every
// other change waits for the syncer.
func needsHost(old, virtual *corev1.Service) bool {
	return virtual.DeletionTimestamp == nil &&
		!apiequality.Semantic.DeepEqual(assignable(&old.Spec), assignable(&virtual.Spec))
}

// write creates or changes the host Service and returns it.
func (p *ServiceSteps) write(ctx context.Context, a admission.Attributes, virtual, old *corev1.Service) (*corev1.Service, error) {
	kind := a.GetResource().Resource
	if old != nil {
		updated, err := p.host.UpdateHostFirst(ctx, kind, virtual, a.IsDryRun())
		if err != nil || updated != nil {
			return asService(a, virtual, updated, err)
		}
		// The Service had no copy until now.
	}
	created, err := p.host.CreateHostFirst(ctx, kind, virtual, a.IsDryRun())
	return asService(a, virtual, created, err)
}

// asService returns the Service that the host stored, nil for none, or the tenant's
// form of the host's error.
func asService(a admission.Attributes, virtual *corev1.Service, stored client.Object, err error) (*corev1.Service, error) {
	if err != nil {
		return nil, fromHostError(a, client.ObjectKeyFromObject(virtual), err)
	}
	if stored == nil {
		return nil, nil
	}
	host, ok := stored.(*corev1.Service)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("cannot use the host copy of Service %s: it is a %T", virtual.Name, stored))
	}
	return host, nil
}

// assignable returns the part of a Service's spec from which the host assigns
// addresses and ports.
func assignable(spec *corev1.ServiceSpec) *corev1.ServiceSpec {
	return &corev1.ServiceSpec{
		Type:                          spec.Type,
		Ports:                         slices.Clone(spec.Ports),
		ClusterIP:                     spec.ClusterIP,
		ClusterIPs:                    spec.ClusterIPs,
		IPFamilies:                    spec.IPFamilies,
		IPFamilyPolicy:                spec.IPFamilyPolicy,
		ExternalTrafficPolicy:         spec.ExternalTrafficPolicy,
		HealthCheckNodePort:           spec.HealthCheckNodePort,
		LoadBalancerClass:             spec.LoadBalancerClass,
		AllocateLoadBalancerNodePorts: spec.AllocateLoadBalancerNodePorts,
	}
}

// nameSuffix and maxBase are the lengths of the random part and, at most, of the fixed
// part of a generated name. The API server uses the same.
const (
	nameSuffix = 5
	maxBase    = 63 - nameSuffix
)

// generateName returns a name that begins with base.
func generateName(base string) string {
	return base[:min(len(base), maxBase)] + rand.String(nameSuffix)
}
