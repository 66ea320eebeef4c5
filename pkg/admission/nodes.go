package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// HostChange changes the host object behind a virtual copy. The engine implements it.
type HostChange interface {
	// ChangeHostFirst changes the host object before the virtual one is changed.
	ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(host client.Object) error, dryRun bool) error
}

// NodeOptions configure [Nodes].
type NodeOptions struct {
	// IsSyncer reports whether a request comes from the syncer, which may write nodes
	// freely. It must not depend on a name that a tenant can impersonate. Other parts of
	// the process are no exception: a tenant can let the garbage collector delete a node.
	// Default: no request does.
	IsSyncer func(ctx context.Context) bool
	// Rules decide what a tenant may change.
	Rules nodes.Rules
	// Host changes host nodes. Needed with Rules.Nodes.SyncBackChanges.
	Host HostChange
}

// nodePlugin is the plugin of [Nodes].
type nodePlugin struct {
	*admission.Handler
	options NodeOptions
}

// Nodes returns the admission plugin for a tenant's writes to nodes and their status.
// Each single change is kept on the virtual node, written to the host first, or denied.
// A denial names the setting that would allow the change.
//
// It writes to the host when it validates, after every plugin that could still deny
// the virtual write.
func Nodes(options NodeOptions) interface {
	admission.MutationInterface
	admission.ValidationInterface
} {
	if options.IsSyncer == nil {
		options.IsSyncer = func(context.Context) bool { return false }
	}
	return &nodePlugin{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		options: options,
	}
}

// appliesTo reports whether a request is a tenant's write to a node.
func (p *nodePlugin) appliesTo(ctx context.Context, a admission.Attributes) bool {
	return a.GetResource().GroupResource() == corev1.Resource("nodes") &&
		(a.GetSubresource() == "" || a.GetSubresource() == "status") && !p.options.IsSyncer(ctx)
}

// Admit implements [admission.MutationInterface]. It denies what the rules deny and
// records what will be the host's.
func (p *nodePlugin) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !p.appliesTo(ctx, a) || a.GetOperation() != admission.Update {
		return nil
	}
	before, after, err := readNodes(a, o)
	if err != nil || !isHostCopy(before) {
		return err
	}
	decide := p.options.Rules.Decide
	if a.GetSubresource() == "status" {
		decide = p.options.Rules.DecideStatus
	}
	decision := decide(before, after)
	if len(decision.Denials) > 0 {
		return deny(a, "%s", strings.Join(decision.Denials, "; "))
	}
	for _, text := range decision.Warnings {
		warning.AddWarning(ctx, "", text)
	}
	if !decision.NeedsRecord() {
		return nil
	}
	if err := decision.WriteRecord(after); err != nil {
		return apierrors.NewInternalError(err)
	}
	return fromV1(after, a.GetObject(), o)
}

// Validate implements [admission.ValidationInterface]. It denies creates and deletes,
// and writes to the host.
func (p *nodePlugin) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !p.appliesTo(ctx, a) {
		return nil
	}
	switch a.GetOperation() {
	case admission.Create:
		return deny(a, "nodes are the host's: a virtual cluster shows them and cannot create one")
	case admission.Delete:
		if old, err := readNode(a.GetOldObject(), o); err != nil || !isHostCopy(old) {
			return err
		}
		return deny(a, "nodes are the host's: a virtual cluster shows them and cannot delete one")
	case admission.Update:
		return p.changeHost(ctx, a, o)
	}
	return nil
}

// changeHost writes the part of an update to the host that goes there.
func (p *nodePlugin) changeHost(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if !p.options.Rules.Nodes.SyncBackChanges {
		return nil
	}
	before, after, err := readNodes(a, o)
	if err != nil || !isHostCopy(before) {
		return err
	}
	edit := p.options.Rules.ToHost(before, after)
	if edit.IsEmpty() {
		return nil
	}
	err = p.options.Host.ChangeHostFirst(ctx, a.GetResource().Resource, before, func(object client.Object) error {
		host, ok := object.(*corev1.Node)
		if !ok {
			return fmt.Errorf("cannot change the host object of node %s: it is a %T", before.Name, object)
		}
		return p.options.Rules.Apply(edit, host)
	}, a.IsDryRun())
	if hidden, ok := errors.AsType[*nodes.HiddenTaintError](err); ok {
		return deny(a, "%s", hidden.TenantMessage()) // Trying again would not help.
	}
	if err != nil {
		return fromHostError(a, types.NamespacedName{Name: before.Name}, err)
	}
	return nil
}

// isHostCopy reports whether a virtual node is the copy of a host node.
func isHostCopy(virtual *corev1.Node) bool { return virtual.Annotations[labels.HostUID] != "" }

// readNodes returns both states of a node that is updated. The write to a status
// cannot change the spec.
func readNodes(a admission.Attributes, o admission.ObjectInterfaces) (before, after *corev1.Node, err error) {
	if before, err = readNode(a.GetOldObject(), o); err != nil {
		return nil, nil, err
	}
	after, err = readNode(a.GetObject(), o)
	if err == nil && a.GetSubresource() == "status" {
		after.Spec = *before.Spec.DeepCopy()
	}
	return before, after, err
}

// readNode returns a node of the API server, with annotations that can be written to.
func readNode(from runtime.Object, o admission.ObjectInterfaces) (*corev1.Node, error) {
	node, err := toV1[corev1.Node](from, o)
	if err == nil && node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	return node, err
}
