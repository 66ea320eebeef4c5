package controlplane

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

const (
	// answerBase is how many bytes a webhook may always answer.
	answerBase = 8 << 20
	// answerFactor is how many times the size of the request the answer may have in addition. A
	// conversion answers with all objects of the request.
	answerFactor = 4
)

// boundWebhookAnswers bounds the answers of the webhooks of an admission plugin.
func boundWebhookAnswers(plugin admission.Interface, _ string) admission.Interface {
	if wants, ok := plugin.(initializer.WantsAuthenticationInfoResolverWrapper); ok {
		wants.SetAuthenticationInfoResolverWrapper(boundedWebhooks)
	}
	return plugin
}

// boundedWebhooks returns a resolver whose clients bound the answers of webhooks. Upstream's read whole
// answers into memory, and decompress them: a few megabytes of a tenant would become gigabytes. They are
// read again at each start, so that the process would end for ever.
func boundedWebhooks(inner webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	limitClient := func(config *rest.Config, err error) (*rest.Config, error) {
		if err != nil {
			return nil, err
		}
		config = rest.CopyConfig(config)
		config.DisableCompression = true
		isInMemory := config.Transport != nil
		config.Wrap(func(inner http.RoundTripper) http.RoundTripper {
			bounded := boundedAnswers{inner, func(req *http.Request) int64 {
				return answerBase + answerFactor*max(req.ContentLength, 0)
			}}
			return webhookTransport{bounded, isInMemory}
		})
		return config, nil
	}
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(hostPort string) (*rest.Config, error) { return limitClient(inner.ClientConfigFor(hostPort)) },
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			return limitClient(inner.ClientConfigForService(name, namespace, port))
		},
	}
}

// webhookTransport denies redirects. A client would follow one with a GET that has the identity of this API server. If
// the webhook is of the Service kubernetes, it would do so in memory.
type webhookTransport struct {
	http.RoundTripper
	// isInMemory reports whether requests reach the handler of this API server.
	isInMemory bool
}

// RoundTrip sends a request. It fails if the answer is a redirect, or if a request in memory is not for a group that
// another API server may serve.
func (t webhookTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.isInMemory && !isWebhookPath(req.URL.Path) {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, fmt.Errorf("the API server does not serve webhooks at %q. Use a path of an aggregated API, or another Service", req.URL.Path)
	}
	res, err := t.RoundTripper.RoundTrip(req)
	if err == nil && res.StatusCode >= http.StatusMultipleChoices && res.StatusCode < http.StatusBadRequest {
		_ = res.Body.Close()
		return nil, fmt.Errorf("the webhook answered with a redirect (code %d), which is not followed. Configure its final address", res.StatusCode)
	}
	return res, err
}

// WrappedRoundTripper returns the inner round tripper, for libraries that look for a transport.
func (t webhookTransport) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }

// isWebhookPath reports whether a path is of a group that is not built in. Built-in groups have proxies, which would
// pass the request on with the identity of this API server.
func isWebhookPath(requested string) bool {
	parts := strings.Split(strings.Trim(requested, "/"), "/")
	return path.Clean(requested) == strings.TrimSuffix(requested, "/") && len(parts) > 2 && parts[0] == "apis" && !legacyscheme.Scheme.IsGroupRegistered(parts[1])
}

// boundedAnswers bounds the size of answers.
type boundedAnswers struct {
	http.RoundTripper
	// limit returns how many bytes the answer to a request may have.
	limit func(req *http.Request) int64
}

// RoundTrip sends a request. Reading more of the answer than the limit fails.
func (b boundedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(req)
	if err != nil || res.StatusCode == http.StatusSwitchingProtocols {
		return res, err
	}
	limit := b.limit(req)
	res.Body = &boundedBody{ReadCloser: res.Body, limit: limit, left: limit}
	return res, nil
}

// WrappedRoundTripper returns the inner round tripper, for libraries that look for a transport.
func (b boundedAnswers) WrappedRoundTripper() http.RoundTripper { return b.RoundTripper }

// boundedBody is a body of which only so many bytes can be read.
type boundedBody struct {
	io.ReadCloser
	limit, left int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		p = p[:min(b.left+1, int64(len(p)))]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", b.limit)
	}
	return n, err
}
