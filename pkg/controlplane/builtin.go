package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
)

// builtinGroups has the groups and versions that only this API server may serve. Otherwise a tenant
// could point the APIService of a built-in group to a server of their own. The syncer and the
// controllers would then read objects that bypass admission. If that server did not respond, no
// start would succeed.
type builtinGroups struct {
	// set is nil until the API servers are created. No request comes before.
	set atomic.Pointer[map[schema.GroupVersion]struct{}]
	// added are the groups and versions of [Config.Groups].
	added addedGroups
	// synced are the groups of [Config.SyncedGroups].
	synced []string
}

// fill reads the groups of the servers below the aggregation.
func (b *builtinGroups) fill(aggregator *genericapiserver.GenericAPIServer) {
	set := map[schema.GroupVersion]struct{}{}
	server, ok := aggregator.NextDelegate().(*genericapiserver.GenericAPIServer)
	for ok {
		for _, service := range server.Handler.GoRestfulContainer.RegisteredWebServices() {
			if group, ok := parseRoot(service.RootPath()); ok {
				set[group] = struct{}{}
			}
		}
		server, ok = server.NextDelegate().(*genericapiserver.GenericAPIServer)
	}
	b.set.Store(&set)
}

// parseRoot returns the group and version that are served below a path.
func parseRoot(path string) (schema.GroupVersion, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, true
	case len(parts) == 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, true
	}
	return schema.GroupVersion{}, false
}

// has reports whether a group and version are built in.
func (b *builtinGroups) has(group, version string) bool {
	set := b.set.Load()
	if set == nil {
		return false
	}
	_, ok := (*set)[schema.GroupVersion{Group: group, Version: version}]
	return ok
}

// isKept reports whether only this API server may serve a group and version.
func (b *builtinGroups) isKept(group, version string) bool {
	return b.has(group, version) || slices.Contains(b.synced, group)
}

// builtinGuard denies APIServices that point a kept group to another server.
type builtinGuard struct{ groups *builtinGroups }

var _ admission.ValidationInterface = builtinGuard{}

// Handles implements admission.Interface.
func (builtinGuard) Handles(operation admission.Operation) bool {
	return operation == admission.Create || operation == admission.Update
}

// Validate implements admission.ValidationInterface.
func (g builtinGuard) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	service, ok := a.GetObject().(*apiregistration.APIService)
	if !ok || service.Spec.Service == nil {
		return nil
	}
	var detail string
	switch version := (schema.GroupVersion{Group: service.Spec.Group, Version: service.Spec.Version}); {
	case g.groups.has(version.Group, version.Version):
		detail = "this group and version are built in, and only the virtual cluster's own API server may serve them. Use a group of your own."
	case slices.Contains(g.groups.added, version):
		detail = "the virtual cluster serves this group and version itself. To serve them yourself, ask the operator to turn that off."
	case slices.Contains(g.groups.synced, version.Group):
		detail = "objects of this group are synced with the host, so only the virtual cluster's own API server may serve it. Use a group of your own."
	default:
		return nil
	}
	target := service.Spec.Service.Namespace + "/" + service.Spec.Service.Name
	return apierrors.NewInvalid(a.GetKind().GroupKind(), service.Name,
		field.ErrorList{field.Invalid(field.NewPath("spec", "service"), target, detail)})
}

// builtinKeeper corrects APIServices that point a kept group to another server. They only exist in a
// store that comes from elsewhere, or that is older than the sync of the group.
type builtinKeeper struct {
	groups *builtinGroups
	own    *rest.Config
}

// task returns the task of the keeper.
func (k *builtinKeeper) task() startTask { return startTask{name: "built-in groups", run: k.run} }

// run makes the APIService of each such group local, and leaves the rest to upstream.
// Upstream knows no added groups.
func (k *builtinKeeper) run(ctx context.Context, succeeded func()) error {
	client, err := aggregatorclient.NewForConfig(k.own)
	if err != nil {
		return err
	}
	api := client.ApiregistrationV1().APIServices()
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("cannot list APIServices: %w", err)
	}
	for _, service := range list.Items {
		if service.Spec.Service == nil || !k.groups.isKept(service.Spec.Group, service.Spec.Version) {
			continue
		}
		if _, err := api.Update(ctx, localService(&service), metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot update APIService %s: %w", service.Name, err)
		}
	}
	if err := k.groups.added.reconcile(ctx, api, list.Items); err != nil {
		return err
	}
	succeeded()
	<-ctx.Done()
	return nil
}

// localService returns an APIService without its server. Upstream manages the rest of it.
func localService(service *apiregistrationv1.APIService) *apiregistrationv1.APIService {
	local := service.DeepCopy()
	local.Labels = merged(local.Labels, map[string]string{autoregister.AutoRegisterManagedLabel: "true"})
	local.Spec.Service, local.Spec.CABundle, local.Spec.InsecureSkipTLSVerify = nil, nil, false
	return local
}
