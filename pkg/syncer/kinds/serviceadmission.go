package kinds

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/admission"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// HostFirst writes the host copy of a virtual object before the virtual object
// itself is written. Both answer with the host object as the host's API server
// has made it, nil where there is to be none. The engine is one.
type HostFirst interface {
	// CreateFirst creates the host copy of an object that does not exist yet.
	CreateFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error)
	// UpdateFirst brings the host copy in line with what the object is about to
	// become.
	UpdateFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error)
}

// serviceAdmission is [ServiceAdmission]'s plugin.
type serviceAdmission struct {
	*admission.Handler
	host HostFirst
}

// ServiceAdmission is the admission plugin that creates the host Service before
// the virtual one and puts the host's address and node ports into it, so that a
// tenant's Service has its one address from the first moment on. What the host
// refuses, by a quota or a policy, is the tenant's error at once. An update that
// asks for other ports or another type goes to the host first likewise.
//
// It must be the last plugin that changes Services. If the second half fails, a
// host Service without virtual one is left, which the engine collects; after a
// failed update it brings the host Service back in line.
func ServiceAdmission(host HostFirst) admission.MutationInterface {
	return &serviceAdmission{Handler: admission.NewHandler(admission.Create, admission.Update), host: host}
}

// Admit implements [admission.MutationInterface].
func (p *serviceAdmission) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("services") || a.GetSubresource() != "" {
		return nil
	}
	virtual, err := versioned(a.GetObject(), o)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	virtual.Namespace = a.GetNamespace()
	if !wantService(virtual) {
		return nil
	}
	var host *corev1.Service
	if a.GetOperation() == admission.Create {
		host, err = p.create(ctx, a, virtual)
	} else {
		host, err = p.update(ctx, a, o, virtual)
	}
	if err != nil || host == nil || a.IsDryRun() {
		// What an API server says that it would assign is nothing that anybody
		// could be given: the first address of the range. The virtual one has the
		// same to say.
		return err
	}
	assign(host, virtual)
	if err := unversioned(virtual, a.GetObject(), o); err != nil {
		return apierrors.NewInternalError(err)
	}
	return nil
}

// create makes the host Service. An ExternalName Service has no address and
// waits for the syncer like any other object.
func (p *serviceAdmission) create(ctx context.Context, a admission.Attributes, virtual *corev1.Service) (*corev1.Service, error) {
	if virtual.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, nil
	}
	if virtual.Name == "" && virtual.GenerateName != "" {
		// The host's name depends on the virtual one.
		virtual.Name = generated(virtual.GenerateName)
	}
	made, err := p.host.CreateFirst(ctx, ServicesName, virtual, a.IsDryRun())
	return hostService(a, virtual, made, err)
}

// update changes the host Service if the tenant asks for something that the host
// assigns. Every other change waits for the syncer.
func (p *serviceAdmission) update(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, virtual *corev1.Service) (*corev1.Service, error) {
	old, err := versioned(a.GetOldObject(), o)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if virtual.DeletionTimestamp != nil || virtual.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, nil
	}
	if old.Spec.Type == virtual.Spec.Type {
		assign(old, virtual)
	}
	if apiequality.Semantic.DeepEqual(assignable(&old.Spec), assignable(&virtual.Spec)) {
		return nil, nil
	}
	made, err := p.host.UpdateFirst(ctx, ServicesName, virtual, a.IsDryRun())
	if err == nil && made == nil {
		// The Service was an ExternalName until now, which may have no copy yet.
		made, err = p.host.CreateFirst(ctx, ServicesName, virtual, a.IsDryRun())
	}
	return hostService(a, virtual, made, err)
}

// assignable is the part of a Service's spec from which the host assigns
// addresses and ports.
func assignable(spec *corev1.ServiceSpec) *corev1.ServiceSpec {
	part := &corev1.ServiceSpec{
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
	return part
}

// nameSuffix and maxGenerated are the random part and the longest fixed part of
// a generated name, as the API server itself has them.
const (
	nameSuffix   = 5
	maxGenerated = 63 - nameSuffix
)

// generated is a name that begins with base.
func generated(base string) string {
	if len(base) > maxGenerated {
		base = base[:maxGenerated]
	}
	return base + rand.String(nameSuffix)
}

// versioned is an object of the API server as the Service of the public API.
func versioned(object runtime.Object, o admission.ObjectInterfaces) (*corev1.Service, error) {
	if service, ok := object.(*corev1.Service); ok {
		return service.DeepCopy(), nil
	}
	service := &corev1.Service{}
	if err := o.GetObjectConvertor().Convert(object, service, nil); err != nil {
		return nil, fmt.Errorf("cannot read the Service in an admission request: %w", err)
	}
	// The two may share memory, and the old object is the cache's.
	return service.DeepCopy(), nil
}

// unversioned writes service into the object of the API server.
func unversioned(service *corev1.Service, object runtime.Object, o admission.ObjectInterfaces) error {
	if into, ok := object.(*corev1.Service); ok {
		service.DeepCopyInto(into)
		return nil
	}
	if err := o.GetObjectConvertor().Convert(service, object, nil); err != nil {
		return fmt.Errorf("cannot write the Service of an admission request: %w", err)
	}
	return nil
}
