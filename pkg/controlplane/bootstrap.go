package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/sublet-dev/sublet/pkg/policy"
)

const (
	// bootstrapWorkers is how many objects are created at a time.
	bootstrapWorkers = 16

	// earlyRetry is the pause after a request that came before an informer or an
	// allocator of the API server was ready. earlyRetries is how many such
	// attempts an existing store gets before the start continues without the object.
	earlyRetry   = 10 * time.Millisecond
	earlyRetries = 50

	// firstRepair and lastRepair are the shortest and the longest pause before
	// missing objects are tried again; the pause doubles in between. lastRepair is
	// also how often the Services and namespaces of the control plane are checked.
	firstRepair = time.Second
	lastRepair  = time.Minute

	// reconcileAfter is the delay of reconcileRoles, so that it does not slow down a start.
	reconcileAfter = 10 * time.Second
)

// A bootstrap creates the objects that every cluster has: the system namespaces, default roles,
// priority classes, and the Services of the control plane.
//
// It lists the existing objects and creates the missing ones. On a new store, the start only continues
// when all are created. On an existing store, a failure must not delay the start, because objects of
// a tenant may cause it. It is reported, and retried in the background.
type bootstrap struct {
	config *Config
	client kubernetes.Interface
	own    *rest.Config
	done   chan struct{} // closed when the start may continue
	failed chan error
	// moves counts what has been read or created, as a sign of progress.
	moves atomic.Int64

	mu      sync.Mutex
	missing map[string]string // object -> why it could not be created
}

// newBootstrap returns a bootstrap that acts as the API server itself. It closes done
// when the start may continue.
func newBootstrap(config *Config, own *rest.Config, done chan struct{}) (*bootstrap, error) {
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the bootstrap: %w", err)
	}
	return &bootstrap{
		config: config, client: client, own: own,
		done: done, failed: make(chan error, 1),
		missing: map[string]string{},
	}, nil
}

// run runs the bootstrap as a hook of the API server. It never returns an error, which
// would end the process without a message. It sends the error to failed.
func (b *bootstrap) run(hook genericapiserver.PostStartHookContext) error {
	isNew, err := b.start(hook)
	if err != nil {
		if hook.Err() == nil {
			b.failed <- fmt.Errorf("cannot create the objects that every cluster has: %w", err)
			<-hook.Done()
		}
		return nil
	}
	close(b.done)
	go b.keep(hook)
	if !isNew {
		go b.reconcileRoles(hook)
	}
	return nil
}

// start creates what is missing. It returns whether the store is new. It fails
// on a new store alone.
func (b *bootstrap) start(ctx context.Context) (isNew bool, err error) {
	isNew, err = b.isNewStore(ctx)
	if err != nil {
		return false, err
	}
	found := existing{}
	if !isNew {
		found = b.read(ctx)
	}
	return isNew, b.createMissing(ctx, b.objects(), found, isNew)
}

// createMissing creates the objects that are not in found. Namespaces come
// first, as other objects live in them. It fails only if all must succeed.
func (b *bootstrap) createMissing(ctx context.Context, objects []systemObject, found existing, must bool) error {
	var namespaces, rest []systemObject
	for _, o := range objects {
		switch {
		case found.has(o) && o.ensure == nil:
			b.recordPresent(o)
		case o.kind == kindNamespace:
			namespaces = append(namespaces, o)
		default:
			rest = append(rest, o)
		}
	}
	for _, o := range namespaces {
		if err := b.create(ctx, o, must); err != nil {
			return err
		}
	}
	return b.createAll(ctx, rest, must)
}

// createAll creates objects with several workers.
func (b *bootstrap) createAll(ctx context.Context, objects []systemObject, must bool) error {
	queue := make(chan systemObject)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	for range min(bootstrapWorkers, len(objects)) {
		workers.Go(func() {
			for o := range queue {
				if err := b.create(ctx, o, must); err != nil {
					mu.Lock()
					failures = append(failures, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, o := range objects {
		queue <- o
	}
	close(queue)
	workers.Wait()
	return errors.Join(failures...)
}

// create creates one object. With must, it retries until it succeeds, and only fails if the API server
// finds the object invalid. Without must, it gives up after a few attempts and records the reason.
func (b *bootstrap) create(ctx context.Context, o systemObject, must bool) error {
	for attempt := 0; ; attempt++ {
		err := o.apply(ctx)
		if err == nil || o.ensure == nil && apierrors.IsAlreadyExists(err) {
			b.moves.Add(1)
			b.recordPresent(o)
			return nil
		}
		isFinal := o.isFinal(err)
		if must && isFinal || ctx.Err() != nil {
			return fmt.Errorf("cannot create %s: %w", o, err)
		}
		if !must && (isFinal || attempt >= earlyRetries) {
			b.recordMissing(o, err)
			return nil
		}
		pauseEarly(ctx)
	}
}

// pauseEarly waits for the time between two early attempts, or until ctx is done. It
// does not use the clock of the certificates, which does not advance in tests.
func pauseEarly(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(earlyRetry): //nolint:forbidigo // see above
	}
}

// keep retries the missing objects. It also restores the namespaces and Services of the control plane
// if a tenant deletes or changes them.
func (b *bootstrap) keep(ctx context.Context) {
	pause := firstRepair
	for {
		if b.countMissing() == 0 {
			pause = lastRepair
		}
		select {
		case <-ctx.Done():
			return
		case <-b.config.Clock.After(pause):
		}
		b.repair(ctx)
		pause = min(2*pause, lastRepair)
	}
}

// repair makes one attempt at each object that is missing or must be kept.
func (b *bootstrap) repair(ctx context.Context) {
	objects := b.keptObjects()
	if b.countMissing() > 0 {
		objects = append(objects, slices.DeleteFunc(b.otherObjects(), func(o systemObject) bool { return !b.isMissing(o) })...)
	}
	for _, o := range objects {
		err := o.apply(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, o.ensure == nil && apierrors.IsAlreadyExists(err):
			b.recordPresent(o)
		default:
			b.recordMissing(o, err)
		}
	}
}

// reconcileRoles updates default roles that an older version has created, as upstream does. It adds
// missing permissions and keeps those that a tenant has added. It skips roles with the annotation
// that disables updates.
func (b *bootstrap) reconcileRoles(hook genericapiserver.PostStartHookContext) {
	select {
	case <-hook.Done():
		return
	case <-b.config.Clock.After(reconcileAfter):
	}
	data := &rbacrest.PolicyData{
		ClusterRoles:               append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings:        clusterBindings(),
		Roles:                      bootstrappolicy.NamespaceRoles(),
		RoleBindings:               bootstrappolicy.NamespaceRoleBindings(),
		ClusterRolesToAggregate:    bootstrappolicy.ClusterRolesToAggregate(),
		ClusterRoleBindingsToSplit: bootstrappolicy.ClusterRoleBindingsToSplit(),
	}
	err := b.skipLargeRoles(hook, data)
	if err == nil {
		hook.LoopbackClientConfig = b.own
		err = data.EnsureRBACPolicy()(hook)
	}
	if err != nil && hook.Err() == nil {
		klog.ErrorS(err, "Cannot bring the default roles up to date")
	}
}

// skipLargeRoles removes the default roles to which a tenant has added very many permissions, before they were denied.
// Upstream would have all of them in memory.
func (b *bootstrap) skipLargeRoles(ctx context.Context, data *rbacrest.PolicyData) error {
	stored, err := b.client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("cannot list the cluster roles: %w", err)
	}
	large := map[string]bool{}
	for _, role := range stored.Items {
		large["/"+role.Name] = policy.CountPermissions(role.Rules) > policy.MaxPermissions
	}
	data.ClusterRoles = slices.DeleteFunc(data.ClusterRoles, func(role rbacv1.ClusterRole) bool { return large["/"+role.Name] })
	kept := map[string][]rbacv1.Role{}
	for namespace, roles := range data.Roles {
		stored, err := b.client.RbacV1().Roles(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return fmt.Errorf("cannot list the roles of namespace %s: %w", namespace, err)
		}
		for _, role := range stored.Items {
			large[namespace+"/"+role.Name] = policy.CountPermissions(role.Rules) > policy.MaxPermissions
		}
		kept[namespace] = slices.DeleteFunc(slices.Clone(roles), func(role rbacv1.Role) bool { return large[namespace+"/"+role.Name] })
	}
	data.Roles = kept
	return nil
}
