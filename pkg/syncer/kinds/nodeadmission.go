package kinds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
)

// NodesName is the name of the kind of nodes.
const NodesName = "nodes"

// HostChange changes the host object behind a virtual one that its host owns. The
// engine is one.
type HostChange interface {
	// ChangeFirst changes the host object before the virtual one is changed.
	ChangeFirst(ctx context.Context, kind string, virtual client.Object, change func(host client.Object) error, dryRun bool) error
}

// NodeAdmissionOptions says who may do what to nodes.
type NodeAdmissionOptions struct {
	// Syncer is the user whose writes are not looked at. Default: nobody.
	Syncer string
	// VirtualScheduler says that a scheduler of the virtual cluster picks nodes.
	// Default: none does.
	VirtualScheduler bool
	// Nodes is the part of the settings about nodes. Default: nothing is passed on.
	Nodes v1alpha1.Nodes
	// Host is asked to change host nodes. Needed with Nodes.SyncBackChanges.
	Host HostChange
}

// nodeAdmission is [NodeAdmission]'s plugin.
type nodeAdmission struct {
	*admission.Handler
	rules  nodeRules
	syncer string
	host   HostChange
}

// NodeAdmission is the admission plugin that answers what a tenant does to nodes
// and to their status. Each single change is kept on the virtual node, where the
// syncer's next look finds it, or written to the host first, or refused in words
// that name the setting which would allow it.
//
// It must be the last plugin that changes nodes. It writes to the host when it
// validates, after all that could still refuse the virtual write.
func NodeAdmission(options NodeAdmissionOptions) interface {
	admission.MutationInterface
	admission.ValidationInterface
} {
	return &nodeAdmission{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		rules:   nodeRules{scheduler: options.VirtualScheduler, nodes: options.Nodes},
		syncer:  options.Syncer, host: options.Host,
	}
}

// concerns says whether a request is a tenant's to a node.
func (p *nodeAdmission) concerns(a admission.Attributes) bool {
	user := a.GetUserInfo()
	return a.GetResource().GroupResource() == corev1.Resource("nodes") &&
		(a.GetSubresource() == "" || a.GetSubresource() == "status") &&
		(p.syncer == "" || user == nil || user.GetName() != p.syncer)
}

// Admit implements [admission.MutationInterface]. It refuses what is to be refused
// and records what is going to be the host's.
func (p *nodeAdmission) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !p.concerns(a) || a.GetOperation() != admission.Update {
		return nil
	}
	before, after, err := nodesOf(a, o)
	if err != nil || before.Annotations[labels.HostUID] == "" {
		return err
	}
	if !maps.Equal(ownAnnotations(before.Annotations), ownAnnotations(after.Annotations)) {
		return forbidden(a, "the annotations %s, %s and %s are the syncer's own", labels.HostUID, labels.Agreed, labels.Tenant)
	}
	return p.admit(ctx, a, o, before, after)
}

// admit decides about an update of a copy of a host node.
func (p *nodeAdmission) admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, before, after *corev1.Node) error {
	status := a.GetSubresource() == "status"
	record := readRecord(before.Annotations)
	verdict := p.rules.judge(record, editOf(before, after))
	if status {
		p.rules.judgeStatus(&verdict, &record, before, after)
	} else if field := hostsSpec(before, after); field != "" {
		verdict.refuse("%s is the host's; only taints and unschedulable can be changed of the spec of a node", field)
	}
	if len(verdict.refusals) > 0 {
		return forbidden(a, "%s", strings.Join(verdict.refusals, "; "))
	}
	for _, text := range verdict.warnings {
		warning.AddWarning(ctx, "", text)
	}
	if verdict.toHost.empty() && !status {
		return nil // What is kept is the tenant's because no record says otherwise.
	}
	if err := record.passed(verdict.toHost).write(after); err != nil {
		return apierrors.NewInternalError(err)
	}
	return apply(after, a.GetObject(), o)
}

// Validate implements [admission.ValidationInterface]. It refuses nodes that come
// and go, and writes to the host.
func (p *nodeAdmission) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !p.concerns(a) {
		return nil
	}
	switch a.GetOperation() {
	case admission.Create:
		return forbidden(a, "nodes are the host's: a virtual cluster shows them and cannot create one")
	case admission.Delete:
		if old, err := readNode(a.GetOldObject(), o); err != nil || old.Annotations[labels.HostUID] == "" {
			return err
		}
		return forbidden(a, "nodes are the host's: a virtual cluster shows them and cannot delete one")
	case admission.Update:
		return p.validateUpdate(ctx, a, o)
	}
	return nil
}

func (p *nodeAdmission) validateUpdate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !p.rules.nodes.SyncBackChanges {
		return nil
	}
	before, after, err := nodesOf(a, o)
	if err != nil || before.Annotations[labels.HostUID] == "" {
		return err
	}
	verdict := p.rules.judge(readRecord(before.Annotations), editOf(before, after))
	if verdict.toHost.empty() {
		return nil
	}
	err = p.host.ChangeFirst(ctx, NodesName, before, func(object client.Object) error {
		host, ok := object.(*corev1.Node)
		if !ok {
			return fmt.Errorf("the host object behind node %s is a %T", before.Name, object)
		}
		verdict.toHost.apply(host)
		return nil
	}, a.IsDryRun())
	if err != nil {
		return nodeRefusal(a, before.Name, err)
	}
	return nil
}

// hostsSpec is a changed field of a node's spec that no tenant has a part in.
func hostsSpec(before, after *corev1.Node) string {
	was, is := before.Spec.DeepCopy(), after.Spec.DeepCopy()
	for _, spec := range []*corev1.NodeSpec{was, is} {
		spec.Taints, spec.Unschedulable = nil, false
	}
	switch {
	case equality.Semantic.DeepEqual(was, is):
		return ""
	case was.PodCIDR != is.PodCIDR || !slices.Equal(was.PodCIDRs, is.PodCIDRs):
		return "spec.podCIDRs"
	case was.ProviderID != is.ProviderID:
		return "spec.providerID"
	default:
		return "that part of the spec"
	}
}

// forbidden is a refusal of Sublet's own.
func forbidden(a admission.Attributes, format string, args ...any) error {
	return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), fmt.Errorf(format, args...))
}

// nodesOf is both states of a node that is updated.
func nodesOf(a admission.Attributes, o admission.ObjectInterfaces) (before, after *corev1.Node, err error) {
	if before, err = readNode(a.GetOldObject(), o); err != nil {
		return nil, nil, err
	}
	after, err = readNode(a.GetObject(), o)
	if err == nil && a.GetSubresource() == "status" {
		after.Spec = *before.Spec.DeepCopy() // Nobody writes a spec there.
	}
	return before, after, err
}

// readNode is an object of the API server as the Node of the public API.
func readNode(object runtime.Object, o admission.ObjectInterfaces) (*corev1.Node, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		node = &corev1.Node{}
		if object == nil {
			return node, nil
		}
		if err := o.GetObjectConvertor().Convert(object, node, nil); err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("cannot read the Node in an admission request: %w", err))
		}
	}
	// The two may share memory, and the old object is the cache's.
	node = node.DeepCopy()
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	return node, nil
}

// apply writes a node into the object of the API server.
func apply(node *corev1.Node, object runtime.Object, o admission.ObjectInterfaces) error {
	if into, ok := object.(*corev1.Node); ok {
		node.DeepCopyInto(into)
		return nil
	}
	if err := o.GetObjectConvertor().Convert(node, object, nil); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot write the Node of an admission request: %w", err))
	}
	return nil
}

// nodeRefusal is an error of the host as the tenant's.
func nodeRefusal(a admission.Attributes, name string, err error) error {
	resource := a.GetResource().GroupResource()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code >= 500 || apierrors.IsTooManyRequests(err) {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("node %s was left as it is, because the host's node could not be written; try again: %v", name, err))
	}
	said := status.Status()
	message := strings.TrimPrefix(said.Message, fmt.Sprintf("%s %q is forbidden: ", resource, name))
	return apierrors.NewForbidden(resource, name, fmt.Errorf("the host cluster refused it: %s", message))
}
