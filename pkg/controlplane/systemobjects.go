package controlplane

import (
	"context"
	"fmt"
	"net"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// The kinds of system objects, in the words of messages.
const (
	kindNamespace      = "namespace"
	kindServiceAccount = "service account"
	kindClusterRole    = "cluster role"
	kindClusterBinding = "cluster role binding"
	kindRole           = "role"
	kindRoleBinding    = "role binding"
	kindPriorityClass  = "priority class"
	kindService        = "service"
)

// bootstrapLabel marks the default roles of every cluster.
const bootstrapLabel = "kubernetes.io/bootstrapping=rbac-defaults"

// pageSize is how many default roles one request lists.
const pageSize = 500

// systemObject is an object that every cluster has.
type systemObject struct {
	kind, namespace, name string
	// create creates the object.
	create func(ctx context.Context) error
	// ensure creates the object or corrects it. nil means that an existing object
	// stays as it is.
	ensure func(ctx context.Context) error
}

// String returns the object's name for messages and as a key.
func (o systemObject) String() string {
	if o.namespace == "" {
		return o.kind + " " + o.name
	}
	return o.kind + " " + o.namespace + "/" + o.name
}

// isFinal reports whether a retry after err is useless. For a Service, it is not: until the allocator has
// its range, Services are invalid too.
func (o systemObject) isFinal(err error) bool {
	return apierrors.IsInvalid(err) && o.ensure == nil
}

// apply creates the object, or ensures it if the control plane must correct it.
func (o systemObject) apply(ctx context.Context) error {
	if o.ensure != nil {
		return o.ensure(ctx)
	}
	return o.create(ctx)
}

// existing is the set of system objects that the store has, by their String.
type existing map[string]struct{}

// has reports whether an object exists.
func (e existing) has(o systemObject) bool {
	_, ok := e[o.String()]
	return ok
}

// systemNamespaces returns the namespaces that every cluster has.
func systemNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}
}

// objects returns all system objects.
func (b *bootstrap) objects() []systemObject { return append(b.keptObjects(), b.otherObjects()...) }

// keptObjects returns the system objects that are also restored while the control plane
// runs.
func (b *bootstrap) keptObjects() []systemObject {
	var objects []systemObject
	for _, namespace := range systemNamespaces() {
		objects = append(objects, b.namespace(namespace))
	}
	for _, service := range b.services() {
		objects = append(objects, systemObject{
			kind: kindService, namespace: service.Namespace, name: service.Name,
			ensure: func(ctx context.Context) error { return b.ensureService(ctx, service) },
		})
	}
	return append(objects, b.dnsReader()...)
}

// otherObjects returns the system objects that are not restored while the control plane runs. To build
// the default roles allocates 400 KB each time.
func (b *bootstrap) otherObjects() []systemObject {
	var objects []systemObject
	for _, namespace := range systemNamespaces() {
		objects = append(objects, b.account(namespace))
	}
	objects = append(objects, b.clusterPolicy()...)
	objects = append(objects, b.namespacePolicy()...)
	return append(objects, b.priorityClasses()...)
}

// namespace returns a system namespace.
func (b *bootstrap) namespace(name string) systemObject {
	return systemObject{kind: kindNamespace, name: name, create: func(ctx context.Context) error {
		_, err := b.client.CoreV1().Namespaces().Create(ctx,
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}}
}

// account returns the default service account of a namespace. Its controller would create it later, and
// the first pod would have to wait.
func (b *bootstrap) account(namespace string) systemObject {
	const name = "default"
	return systemObject{kind: kindServiceAccount, namespace: namespace, name: name, create: func(ctx context.Context) error {
		_, err := b.client.CoreV1().ServiceAccounts(namespace).Create(ctx,
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, metav1.CreateOptions{})
		return err
	}}
}

// clusterPolicy returns the default cluster roles and their bindings.
func (b *bootstrap) clusterPolicy() []systemObject {
	var objects []systemObject
	api := b.client.RbacV1()
	roles := append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...)
	for _, role := range append(roles, b.config.addedRoles()...) {
		objects = append(objects, systemObject{kind: kindClusterRole, name: role.Name, create: func(ctx context.Context) error {
			_, err := api.ClusterRoles().Create(ctx, &role, metav1.CreateOptions{})
			return err
		}})
	}
	for _, binding := range clusterBindings() {
		objects = append(objects, systemObject{kind: kindClusterBinding, name: binding.Name, create: func(ctx context.Context) error {
			_, err := api.ClusterRoleBindings().Create(ctx, &binding, metav1.CreateOptions{})
			return err
		}})
	}
	return objects
}

// namespacePolicy returns the default roles of the system namespaces and their
// bindings.
func (b *bootstrap) namespacePolicy() []systemObject {
	var objects []systemObject
	api := b.client.RbacV1()
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			objects = append(objects, systemObject{kind: kindRole, namespace: namespace, name: role.Name, create: func(ctx context.Context) error {
				_, err := api.Roles(namespace).Create(ctx, &role, metav1.CreateOptions{})
				return err
			}})
		}
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			objects = append(objects, systemObject{kind: kindRoleBinding, namespace: namespace, name: binding.Name, create: func(ctx context.Context) error {
				_, err := api.RoleBindings(namespace).Create(ctx, &binding, metav1.CreateOptions{})
				return err
			}})
		}
	}
	return objects
}

// priorityClasses returns the priority classes of system pods.
func (b *bootstrap) priorityClasses() []systemObject {
	var objects []systemObject
	for _, class := range schedulingv1.SystemPriorityClasses() {
		objects = append(objects, systemObject{kind: kindPriorityClass, name: class.Name, create: func(ctx context.Context) error {
			_, err := b.client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{})
			return err
		}})
	}
	return objects
}

// isNewStore reports whether the store has never been bootstrapped. It retries until the API server
// answers. It looks for a namespace that nobody can delete.
func (b *bootstrap) isNewStore(ctx context.Context) (bool, error) {
	for {
		_, err := b.client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
		switch {
		case err == nil:
			return false, nil
		case apierrors.IsNotFound(err):
			return true, nil
		}
		if pauseEarly(ctx); ctx.Err() != nil {
			return false, fmt.Errorf("cannot get namespace %s: %w", metav1.NamespaceSystem, err)
		}
	}
}

// read returns the existing system objects. A failed request only causes needless creates that return
// AlreadyExists.
func (b *bootstrap) read(ctx context.Context) existing {
	found := existing{}
	var mu sync.Mutex
	add := func(kind, namespace, name string) {
		mu.Lock()
		defer mu.Unlock()
		found[systemObject{kind: kind, namespace: namespace, name: name}.String()] = struct{}{}
		b.moves.Add(1)
	}
	var readers sync.WaitGroup
	readers.Go(func() { b.readNamespaces(ctx, add) })
	readers.Go(func() { b.readClusterPolicy(ctx, add) })
	readers.Go(func() { b.readNamespacePolicy(ctx, add) })
	readers.Go(func() {
		for _, class := range schedulingv1.SystemPriorityClasses() {
			if _, err := b.client.SchedulingV1().PriorityClasses().Get(ctx, class.Name, metav1.GetOptions{}); err == nil {
				add(kindPriorityClass, "", class.Name)
			}
		}
	})
	readers.Wait()
	return found
}

// readNamespaces reads the system namespaces and their default service accounts.
func (b *bootstrap) readNamespaces(ctx context.Context, add func(kind, namespace, name string)) {
	for _, namespace := range systemNamespaces() {
		if _, err := b.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err == nil {
			add(kindNamespace, "", namespace)
		}
		if account, err := b.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{}); err == nil {
			add(kindServiceAccount, namespace, account.Name)
		}
	}
}

// readClusterPolicy reads the default cluster roles and their bindings.
func (b *bootstrap) readClusterPolicy(ctx context.Context, add func(kind, namespace, name string)) {
	options := metav1.ListOptions{LabelSelector: bootstrapLabel, Limit: pageSize}
	_ = eachPage(options, func(options metav1.ListOptions) (string, error) {
		list, err := b.client.RbacV1().ClusterRoles().List(ctx, options)
		if err != nil {
			return "", err
		}
		addAll(list.Items, func(role *rbacv1.ClusterRole) { add(kindClusterRole, "", role.Name) })
		return list.Continue, nil
	})
	_ = eachPage(options, func(options metav1.ListOptions) (string, error) {
		list, err := b.client.RbacV1().ClusterRoleBindings().List(ctx, options)
		if err != nil {
			return "", err
		}
		addAll(list.Items, func(binding *rbacv1.ClusterRoleBinding) { add(kindClusterBinding, "", binding.Name) })
		return list.Continue, nil
	})
}

// readNamespacePolicy reads the default roles of the system namespaces and their
// bindings.
func (b *bootstrap) readNamespacePolicy(ctx context.Context, add func(kind, namespace, name string)) {
	for _, namespace := range []string{metav1.NamespaceSystem, metav1.NamespacePublic} {
		options := metav1.ListOptions{LabelSelector: bootstrapLabel, Limit: pageSize}
		_ = eachPage(options, func(options metav1.ListOptions) (string, error) {
			list, err := b.client.RbacV1().Roles(namespace).List(ctx, options)
			if err != nil {
				return "", err
			}
			addAll(list.Items, func(role *rbacv1.Role) { add(kindRole, namespace, role.Name) })
			return list.Continue, nil
		})
		_ = eachPage(options, func(options metav1.ListOptions) (string, error) {
			list, err := b.client.RbacV1().RoleBindings(namespace).List(ctx, options)
			if err != nil {
				return "", err
			}
			addAll(list.Items, func(binding *rbacv1.RoleBinding) { add(kindRoleBinding, namespace, binding.Name) })
			return list.Continue, nil
		})
	}
}

// eachPage lists page after page, until the token of the next one is empty.
func eachPage(options metav1.ListOptions, list func(metav1.ListOptions) (next string, err error)) error {
	for {
		next, err := list(options)
		if err != nil || next == "" {
			return err
		}
		options.Continue = next
	}
}

// addAll calls add for each item.
func addAll[T any](items []T, add func(*T)) {
	for i := range items {
		add(&items[i])
	}
}

// ip returns the text of an address, empty for none.
func ip(address net.IP) string {
	if address == nil {
		return ""
	}
	return address.String()
}
