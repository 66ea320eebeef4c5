package controlplane

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
)

// firstDiscovery keeps what discovery has answered, so that the controllers get the same answers while they are
// created. Upstream's namespace controller ends the process if discovery fails at that moment. A tenant may be the
// reason, or the end of the API server.
type firstDiscovery struct {
	mu      sync.Mutex
	ended   bool
	answers map[string]discoveryAnswer // path, query and Accept header -> the first good answer
}

// discoveryAnswer is the answer to a request for discovery.
type discoveryAnswer struct {
	header http.Header
	body   []byte
}

// newFirstDiscovery returns a firstDiscovery without answers.
func newFirstDiscovery() *firstDiscovery {
	return &firstDiscovery{answers: map[string]discoveryAnswer{}}
}

// end lets all later requests through.
func (d *firstDiscovery) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended, d.answers = true, nil
}

// wrap returns a copy of config whose answers of discovery are kept.
func (d *firstDiscovery) wrap(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &discoveryTransport{first: d, next: next} })
	return config
}

// get returns the kept answer to a request.
func (d *firstDiscovery) get(key string) (answer discoveryAnswer, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	answer, ok = d.answers[key]
	return answer, ok
}

// keep keeps an answer, unless the controllers have been created.
func (d *firstDiscovery) keep(key string, answer discoveryAnswer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		d.answers[key] = answer
	}
}

// isEnded reports whether the controllers have been created.
func (d *firstDiscovery) isEnded() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// discoveryTransport sends requests, and answers those for discovery from memory.
type discoveryTransport struct {
	first *firstDiscovery
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *discoveryTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if !isDiscovery(request) || t.first.isEnded() {
		return t.next.RoundTrip(request)
	}
	key := request.URL.RequestURI() + " " + request.Header.Get("Accept")
	if answer, ok := t.first.get(key); ok {
		return answer.response(request), nil
	}
	response, err := t.next.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	answer := discoveryAnswer{response.Header, body}
	t.first.keep(key, answer)
	return answer.response(request), nil
}

// response returns the answer as a new response.
func (a discoveryAnswer) response(request *http.Request) *http.Response {
	return &http.Response{
		Status: http.StatusText(http.StatusOK), StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)), Request: request,
	}
}

// isDiscovery reports whether a request reads which groups, versions or resources there are.
func isDiscovery(request *http.Request) bool {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	return request.Method == http.MethodGet &&
		(parts[0] == "api" && len(parts) <= 2 || parts[0] == "apis" && len(parts) <= 3)
}
