package controlplane

import (
	"fmt"
	"io"
	"net/http"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
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
	bound := func(config *rest.Config, err error) (*rest.Config, error) {
		if err != nil {
			return nil, err
		}
		config = rest.CopyConfig(config)
		config.DisableCompression = true
		config.Wrap(func(inner http.RoundTripper) http.RoundTripper {
			return boundedAnswers{inner, func(req *http.Request) int64 {
				return answerBase + answerFactor*max(req.ContentLength, 0)
			}}
		})
		return config, nil
	}
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(hostPort string) (*rest.Config, error) { return bound(inner.ClientConfigFor(hostPort)) },
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			return bound(inner.ClientConfigForService(name, namespace, port))
		},
	}
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
