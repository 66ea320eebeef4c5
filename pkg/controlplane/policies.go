package controlplane

import (
	"context"
	"sync"

	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// policyController type-checks ValidatingAdmissionPolicies. Upstream's controller has the schema of the
// whole API in memory, about 7 MB. As most clusters have no such policy, it is only created when the
// first one appears.
type policyController struct {
	context app.ControllerContext
	first   chan struct{}
}

// newPolicyController returns a policyController that starts to wait for the first policy.
func newPolicyController(context app.ControllerContext) *policyController {
	c := &policyController{context: context, first: make(chan struct{})}
	came := sync.OnceFunc(func() { close(c.first) })
	policies := context.InformerFactory.Admissionregistration().V1().ValidatingAdmissionPolicies().Informer()
	// The API server has this informer anyway. Handlers cannot be refused
	// before it has stopped.
	_, _ = policies.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { came() }})
	return c
}

// Name returns upstream's name of the controller.
func (c *policyController) Name() string { return names.ValidatingAdmissionPolicyStatusController }

// Run builds and runs the controller once there is a policy.
func (c *policyController) Run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.first:
	}
	controller, err := app.NewControllerDescriptors()[c.Name()].BuildController(ctx, c.context)
	if err != nil {
		klog.ErrorS(err, "Cannot type-check admission policies")
		return
	}
	if controller != nil {
		controller.Run(ctx)
	}
}
