package integration

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/rest"
)

// hostHooks are the webhooks of the host: what its operator lets happen to the objects of a namespace.
type hostHooks struct {
	mu sync.Mutex
	by map[string]func(a admission.Attributes, o admission.ObjectInterfaces) error // namespace -> its webhook
}

// set sets the webhook of a namespace until the test ends.
func (h *hostHooks) set(t *testing.T, namespace string, hook func(a admission.Attributes, o admission.ObjectInterfaces) error) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = map[string]func(admission.Attributes, admission.ObjectInterfaces) error{}
	}
	h.by[namespace] = hook
	t.Cleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.by, namespace)
	})
}

// Handles implements [admission.Interface].
func (h *hostHooks) Handles(admission.Operation) bool { return true }

// Admit implements [admission.MutationInterface].
func (h *hostHooks) Admit(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	h.mu.Lock()
	hook := h.by[a.GetNamespace()]
	h.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(a, o)
}

// editPod changes the pod of a request as a mutating webhook does.
func editPod(a admission.Attributes, o admission.ObjectInterfaces, edit func(*corev1.Pod)) error {
	pod := &corev1.Pod{}
	if err := o.GetObjectConvertor().Convert(a.GetObject(), pod, nil); err != nil {
		return err
	}
	pod = pod.DeepCopy()
	edit(pod)
	return o.GetObjectConvertor().Convert(pod, a.GetObject(), nil)
}

// addMarks puts a label and an annotation on the object of a request, as meshes and policy engines do.
func addMarks(a admission.Attributes) error {
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return err
	}
	labels, annotations := maps.Clone(object.GetLabels()), maps.Clone(object.GetAnnotations())
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels["mesh.example.com/injected"], annotations["mesh.example.com/status"] = "true", "injected"
	object.SetLabels(labels)
	object.SetAnnotations(annotations)
	return nil
}

// tally counts the writes of an engine to the host by method and resource.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

// wrap returns a copy of config whose requests are counted.
func (c *tally) wrap(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			// The engine records the version of the store at the anchor once a minute.
			if request.Method != http.MethodGet && !strings.HasSuffix(request.URL.Path, "/shop-anchor") {
				_, path, _ := strings.Cut(request.URL.Path, "/namespaces/")
				parts := strings.SplitN(path, "/", 4)
				resource := strings.Join(parts[min(1, len(parts)-1):min(2, len(parts))], "")
				if len(parts) > 3 {
					resource += "/" + parts[3]
				}
				c.mu.Lock()
				c.counts[request.Method+" "+resource]++
				c.mu.Unlock()
			}
			return next.RoundTrip(request)
		})
	})
	return config
}

// take returns the counts since the last call.
func (c *tally) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = map[string]int{}
	return counts
}

// roundTripper is a transport made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
