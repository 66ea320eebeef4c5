package controlplane

import (
	"context"
	"errors"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/probe"
	"k8s.io/kubernetes/pkg/registry/core/componentstatus"
)

// component is the check of a part of the control plane.
type component func() error

// DoServerCheck implements componentstatus.Server.
func (c component) DoServerCheck() (probe.Result, string, error) {
	if err := c(); err != nil {
		return probe.Failure, "", err
	}
	return probe.Success, "ok", nil
}

// components returns the components of the control plane under their usual names. The scheduler is
// always healthy: it is that of the host, or a part of this process.
func (a *assembly) components() map[string]componentstatus.Server {
	return map[string]componentstatus.Server{
		"controller-manager": component(a.controllersError),
		"scheduler":          component(func() error { return nil }),
		"etcd-0": component(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), storageTimeout) //nolint:forbidigo // The interface has no context.
			defer cancel()
			return a.store.check(ctx)
		}),
	}
}

// withComponents serves ComponentStatuses in front of the API. Upstream would probe ports of its own
// components, on which nothing listens here.
func (a *assembly) withComponents(next http.Handler) http.Handler {
	statuses := componentstatus.NewStorage(a.components)
	version := corev1.SchemeGroupVersion
	scope := &handlers.RequestScope{
		Namer:      handlers.ContextBasedNaming{Namer: runtime.Namer(meta.NewAccessor()), ClusterScoped: true},
		Serializer: legacyscheme.Codecs, ParameterCodec: legacyscheme.ParameterCodec,
		Creater:   legacyscheme.Scheme, //nolint:misspell // upstream's name
		Defaulter: legacyscheme.Scheme, Typer: legacyscheme.Scheme,
		Convertor: legacyscheme.Scheme, UnsafeConvertor: runtime.UnsafeObjectConvertor(legacyscheme.Scheme),
		TableConvertor: statuses, Resource: version.WithResource("componentstatuses"), Kind: version.WithKind("ComponentStatus"),
		HubGroupVersion: api.SchemeGroupVersion, MetaGroupVersion: metav1.SchemeGroupVersion,
	}
	list, get := handlers.ListResource(statuses, nil, scope, false, 0), handlers.GetResource(statuses, scope)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		switch {
		case !ok || info.APIGroup != version.Group || info.Resource != scope.Resource.Resource || info.Subresource != "" || info.Namespace != "":
			next.ServeHTTP(w, req)
		case info.Verb == "list":
			list(w, req)
		case info.Verb == "get":
			get(w, req)
		default:
			next.ServeHTTP(w, req)
		}
	})
}

// controllersError returns why the controllers do not run, nil if they do or another replica
// runs them.
func (c *ControlPlane) controllersError() error {
	tasks := c.tasks.Load()
	if tasks == nil {
		return errors.New("the control plane starts")
	}
	return tasks.errorOf(controllersTask)
}
