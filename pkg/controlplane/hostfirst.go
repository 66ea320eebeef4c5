package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// A HostFirst is an admission step that writes to the host before the object is stored.
// It runs when everything that can deny the request has agreed, validation included.
type HostFirst interface {
	// Prepare completes the object of a request, and reports whether Apply will write. It
	// sees the object before the API server allocates anything, and may deny it.
	Prepare(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (writes bool, err error)
	// Apply writes to the host, and fills in what the host has assigned.
	Apply(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error
}

// hostFirstChain runs the host-first steps after a chain of admission steps.
//
// Upstream allocates addresses before it validates an object. But the host assigns the addresses,
// and must only be asked for a valid object. So the chain first sends the object to its own API
// server as an in-memory dry run. There the validating steps see the original request. After that, the host-first steps write to the host, and the original request continues with the host's
// addresses. Its validating steps are then skipped, so that webhooks are called once and a quota is
// charged once.
type hostFirstChain struct {
	admission.Interface
	steps     []HostFirst
	transport func(*dryRun) http.RoundTripper
}

// dryRun has the original request of a dry run.
type dryRun struct {
	ctx        context.Context //nolint:containedctx // It is the request's, for the steps that check it.
	attributes admission.Attributes
}

// requestKey is the context key of the [requestState].
type requestKey struct{}

// requestState is the state of one request that Admit and Validate share.
type requestState struct {
	// validated reports that a dry run has passed all validating steps.
	validated bool
	// sent maps an admission plugin that a tenant configures -> the object before the plugin altered it. See
	// [SentObject].
	sent map[string]runtime.Object
}

// requestStateOf returns the state of a request, nil for one that has none.
func requestStateOf(ctx context.Context) *requestState {
	state, _ := ctx.Value(requestKey{}).(*requestState)
	return state
}

// withRequestState adds a [requestState] to the context of each request.
func withRequestState(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
			req = req.WithContext(context.WithValue(req.Context(), requestKey{}, &requestState{}))
		}
		next.ServeHTTP(w, req)
	})
}

// dryRunOf returns the dry run that a request is, nil for any other request.
func dryRunOf(ctx context.Context) *dryRun {
	r, _ := loopback.WorkOf(ctx).(*dryRun)
	return r
}

// Admit implements [admission.MutationInterface].
func (c *hostFirstChain) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if dryRunOf(ctx) != nil {
		return nil // The original request has changed the object already.
	}
	state := requestStateOf(ctx)
	if state != nil {
		state.validated = false // An update is tried again if the object has changed.
	}
	if chain, ok := c.Interface.(admission.MutationInterface); ok {
		if err := chain.Admit(ctx, a, o); err != nil {
			return err
		}
	}
	for _, step := range c.steps {
		writes, err := step.Prepare(ctx, a, o)
		if err != nil {
			return err
		}
		if !writes {
			continue
		}
		if !a.IsDryRun() {
			if err := c.sendDryRun(ctx, state, a); err != nil {
				return err
			}
		}
		if err := step.Apply(ctx, a, o); err != nil {
			return err
		}
	}
	return nil
}

// Validate implements [admission.ValidationInterface].
func (c *hostFirstChain) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	chain, ok := c.Interface.(admission.ValidationInterface)
	if !ok {
		return nil
	}
	if r := dryRunOf(ctx); r != nil {
		return chain.Validate(r.ctx, r.original(a), o)
	}
	if state := requestStateOf(ctx); state != nil && state.validated {
		return nil
	}
	return chain.Validate(ctx, a, o)
}

// original returns the attributes of the original request, with the object of its dry run.
func (r *dryRun) original(a admission.Attributes) admission.Attributes {
	o := r.attributes
	return admission.NewAttributesRecord(a.GetObject(), a.GetOldObject(), o.GetKind(), o.GetNamespace(), a.GetName(),
		o.GetResource(), o.GetSubresource(), o.GetOperation(), o.GetOperationOptions(), o.IsDryRun(), o.GetUserInfo())
}

// sendDryRun sends the object as a dry run, and returns the error of the first step that
// denies it.
func (c *hostFirstChain) sendDryRun(ctx context.Context, state *requestState, a admission.Attributes) error {
	if state == nil {
		return apierrors.NewInternalError(errors.New("cannot validate before the host is asked: the request has no state"))
	}
	request, err := newDryRunRequest(ctx, a)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	response, err := c.transport(&dryRun{ctx: ctx, attributes: a}).RoundTrip(request)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot validate before the host is asked: %w", err))
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusBadRequest {
		return readStatus(response)
	}
	state.validated = true
	return nil
}

// newDryRunRequest returns the dry run of a request.
func newDryRunRequest(ctx context.Context, a admission.Attributes) (*http.Request, error) {
	version := a.GetKind().GroupVersion()
	info, _ := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	body, err := runtime.Encode(legacyscheme.Codecs.EncoderForVersion(info.Serializer, version), a.GetObject())
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s %s/%s: %w", a.GetKind().Kind, a.GetNamespace(), a.GetName(), err)
	}
	method, path := http.MethodPost, []string{"apis", version.Group, version.Version}
	if version.Group == "" {
		path = []string{"api", version.Version}
	}
	if namespace := a.GetNamespace(); namespace != "" {
		path = append(path, "namespaces", namespace)
	}
	path = append(path, a.GetResource().Resource)
	if a.GetOperation() == admission.Update {
		method, path = http.MethodPut, append(path, a.GetName())
	}
	address := (&url.URL{Scheme: "https", Host: "dry-run"}).JoinPath(path...)
	address.RawQuery = url.Values{"dryRun": {metav1.DryRunAll}}.Encode()
	request, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("cannot create the dry run of a request: %w", err)
	}
	request.Header.Set("Content-Type", runtime.ContentTypeProtobuf)
	request.Header.Set("Accept", runtime.ContentTypeJSON)
	return request, nil
}

// readStatus returns the error that an API server has answered with.
func readStatus(response *http.Response) error {
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot read the answer to a dry run: %w", err))
	}
	var status metav1.Status
	if err := json.Unmarshal(content, &status); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot decode the answer to a dry run: %w", err))
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// dryRunTransport returns the transport of a dry run. The dry run needs no authorization, because the
// original request was authorized.
func (c *ControlPlane) dryRunTransport(r *dryRun) http.RoundTripper {
	return c.loopback.Transport(loopback.Caller{
		User: &user.DefaultInfo{Name: "system:apiserver", Groups: []string{pki.GroupAdmins, user.AllAuthenticated}},
		Work: r,
	})
}
