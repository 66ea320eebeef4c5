package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// NodeReader returns a node of the virtual cluster, or an error that is not found.
type NodeReader func(ctx context.Context, name string) (*corev1.Node, error)

// AddNodeNameChecks adds the checks of node names in pods and bindings. It denies a node that the tenant does
// not see, because the pod would wait for ever.
//
// The check reads virtual nodes, which a tenant can neither create nor mark as copies. Without
// sync.fromHost.nodes, a virtual node only exists after a pod runs on it. So all names are allowed, and
// the host's scheduler decides.
func AddNodeNameChecks(checks Checks, settings *v1alpha1.Config, read NodeReader) {
	if !settings.Sync.IsEnabled("sync.fromHost.nodes") {
		return
	}
	c := nodeNameCheck{read: read}
	checks.Add(corev1.Resource("pods"), c.checkPods)
	checks.Add(corev1.Resource("bindings"), c.checkBinding)
}

// nodeNameCheck evaluates names of nodes.
type nodeNameCheck struct{ read NodeReader }

// checkPods evaluates the node of a pod that is created, and of one that is bound.
func (c nodeNameCheck) checkPods(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create {
		return Decision{}, nil
	}
	switch a.GetSubresource() {
	case "":
		pod, err := toV1[corev1.Pod](a.GetObject(), o)
		if err != nil {
			return Decision{}, err
		}
		return c.checkName(ctx, a, "spec.nodeName", pod.Spec.NodeName)
	case "binding":
		return c.checkBinding(ctx, a, o)
	default:
		return Decision{}, nil
	}
}

// checkBinding evaluates the target of a binding.
func (c nodeNameCheck) checkBinding(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create {
		return Decision{}, nil
	}
	binding, err := toV1[corev1.Binding](a.GetObject(), o)
	if err != nil {
		return Decision{}, err
	}
	return c.checkName(ctx, a, "target.name", binding.Target.Name)
}

// checkName returns the violation of a field that names a node which the tenant does not see.
func (c nodeNameCheck) checkName(ctx context.Context, a admission.Attributes, field, name string) (Decision, error) {
	if name == "" {
		return Decision{}, nil
	}
	node, err := c.read(ctx, name)
	switch {
	case err == nil && isHostCopy(node):
		return Decision{}, nil
	case err != nil && !apierrors.IsNotFound(err):
		return Decision{}, unknownHost(a, err)
	}
	return Decision{Violations: []policy.Violation{{
		Field: field, Value: name,
		Detail:  "not a node of this virtual cluster; \"kubectl get nodes\" lists those that pods may run on",
		Setting: "sync.fromHost.nodes.selector",
	}}}, nil
}
