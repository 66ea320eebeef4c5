package controlplane

import (
	"context"
	"sync"

	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// policyController type-checks admission policies. Upstream's controller keeps the
// schema of the whole API in memory, some seven MB. Most clusters have no admission
// policy, so it is built when the first one comes.
type policyController struct {
	context app.ControllerContext
	first   chan struct{}
}

// newPolicyController waits for the first policy from now on.
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
