package controlplane

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

const (
	// bootstrapWorkers is how many objects are created at a time.
	bootstrapWorkers = 16

	// bootstrapRetry is the pause after a request that came too early, and
	// bootstrapTimeout is when waiting for a better moment has no point.
	bootstrapRetry   = 10 * time.Millisecond
	bootstrapTimeout = time.Minute

	// reconcileAfter keeps the comparison of existing roles with those of this
	// version out of the way of a start.
	reconcileAfter = 10 * time.Second

	// keepServices is how often the system's Services are checked.
	keepServices = time.Minute
)

// A bootstrap creates what every cluster has: its namespaces, the default roles
// and priority classes, and the Services of the control plane. Upstream does
// the same in several places, of which two sleep for a second first.
type bootstrap struct {
	config *Config
	client kubernetes.Interface
	done   chan struct{} // closed when everything exists
	failed chan error
}

func newBootstrap(config *Config, loopback *rest.Config) (*bootstrap, error) {
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the bootstrap: %w", err)
	}
	return &bootstrap{config: config, client: client, done: make(chan struct{}), failed: make(chan error, 1)}, nil
}

// run is a hook of the API server. It never returns an error, which would end
// the process without a word to anybody; it reports to failed.
func (b *bootstrap) run(hook genericapiserver.PostStartHookContext) error {
	ctx, cancel := context.WithTimeout(hook, bootstrapTimeout)
	defer cancel()
	existed, err := b.create(ctx)
	if err != nil {
		if hook.Err() == nil {
			b.failed <- fmt.Errorf("cannot create the objects that every cluster has: %w", err)
			<-hook.Done()
		}
		return nil
	}
	close(b.done)
	go b.keepServices(hook)
	if existed {
		go b.reconcileRoles(hook)
	}
	return nil
}

// create makes what is missing, and tells whether the roles were there before.
func (b *bootstrap) create(ctx context.Context) (existed bool, err error) {
	for _, name := range []string{
		metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease,
	} {
		for _, s := range []step{b.namespace(name), b.account(name)} {
			if _, err := createMissing(ctx, s); err != nil {
				return false, err
			}
		}
	}
	steps := append(b.policy(), b.priorityClasses()...)
	services := b.services()

	var wg sync.WaitGroup
	var mu sync.Mutex
	note := func(there bool, e error) {
		mu.Lock()
		defer mu.Unlock()
		existed = existed || there
		if err == nil {
			err = e
		}
	}
	queue := make(chan step)
	for range bootstrapWorkers {
		wg.Go(func() {
			for s := range queue {
				note(createMissing(ctx, s))
			}
		})
	}
	for _, s := range services {
		wg.Go(func() { note(false, b.ensureService(ctx, s)) })
	}
	for _, s := range steps {
		queue <- s
	}
	close(queue)
	wg.Wait()
	return existed, err
}

// A step creates one object.
type step struct {
	what   string
	create func(ctx context.Context) error
}

// createMissing runs a step until the API server takes it or says that the
// object exists. In its first moments the server may not be able to, because a
// namespace or an informer is not there yet.
func createMissing(ctx context.Context, s step) (existed bool, err error) {
	for {
		err := s.create(ctx)
		if err == nil {
			return false, nil
		}
		if apierrors.IsAlreadyExists(err) {
			return true, nil
		}
		if apierrors.IsInvalid(err) {
			return false, fmt.Errorf("cannot create %s: %w", s.what, err)
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("cannot create %s: %w", s.what, err)
		case <-time.After(bootstrapRetry):
		}
	}
}

func (b *bootstrap) namespace(name string) step {
	return step{what: "namespace " + name, create: func(ctx context.Context) error {
		_, err := b.client.CoreV1().Namespaces().Create(ctx,
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}}
}

// account is the service account that pods of a namespace run as. Its
// controller would make it a moment later, and the first pod would wait.
func (b *bootstrap) account(namespace string) step {
	return step{what: "service account " + namespace + "/default", create: func(ctx context.Context) error {
		_, err := b.client.CoreV1().ServiceAccounts(namespace).Create(ctx,
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}, metav1.CreateOptions{})
		return err
	}}
}

// policy are the default roles and bindings.
func (b *bootstrap) policy() []step {
	var steps []step
	api := b.client.RbacV1()
	for _, role := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		steps = append(steps, step{"cluster role " + role.Name, func(ctx context.Context) error {
			_, err := api.ClusterRoles().Create(ctx, &role, metav1.CreateOptions{})
			return err
		}})
	}
	for _, binding := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		steps = append(steps, step{"cluster role binding " + binding.Name, func(ctx context.Context) error {
			_, err := api.ClusterRoleBindings().Create(ctx, &binding, metav1.CreateOptions{})
			return err
		}})
	}
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			steps = append(steps, step{"role " + namespace + "/" + role.Name, func(ctx context.Context) error {
				_, err := api.Roles(namespace).Create(ctx, &role, metav1.CreateOptions{})
				return err
			}})
		}
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			steps = append(steps, step{"role binding " + namespace + "/" + binding.Name, func(ctx context.Context) error {
				_, err := api.RoleBindings(namespace).Create(ctx, &binding, metav1.CreateOptions{})
				return err
			}})
		}
	}
	return steps
}

func (b *bootstrap) priorityClasses() []step {
	var steps []step
	for _, class := range schedulingv1.SystemPriorityClasses() {
		steps = append(steps, step{"priority class " + class.Name, func(ctx context.Context) error {
			_, err := b.client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{})
			return err
		}})
	}
	return steps
}

// reconcileRoles brings roles that an older version created up to this one's,
// by upstream's own rules: what is missing is added, what a tenant added stays,
// and what is marked as not to be updated is left alone.
func (b *bootstrap) reconcileRoles(hook genericapiserver.PostStartHookContext) {
	select {
	case <-hook.Done():
		return
	case <-b.config.Clock.After(reconcileAfter):
	}
	policy := &rbacrest.PolicyData{
		ClusterRoles:               append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings:        append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		Roles:                      bootstrappolicy.NamespaceRoles(),
		RoleBindings:               bootstrappolicy.NamespaceRoleBindings(),
		ClusterRolesToAggregate:    bootstrappolicy.ClusterRolesToAggregate(),
		ClusterRoleBindingsToSplit: bootstrappolicy.ClusterRoleBindingsToSplit(),
	}
	if err := policy.EnsureRBACPolicy()(hook); err != nil && hook.Err() == nil {
		klog.ErrorS(err, "The default roles were not brought up to date")
	}
}

// ip is the text of an address, empty for none.
func ip(address net.IP) string {
	if address == nil {
		return ""
	}
	return address.String()
}
