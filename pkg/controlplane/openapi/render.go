package openapi

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/emicklei/go-restful/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sublet-dev/sublet/pkg/controlplane/requestmemory"
)

// rendered is an answer in memory. It has the bytes of a document, and not the many objects that they are made of.
type rendered struct {
	code   int
	header http.Header
	body   bytes.Buffer
}

var _ http.ResponseWriter = &rendered{}

// Header implements http.ResponseWriter.
func (r *rendered) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *rendered) WriteHeader(code int) {
	r.code = code
	if length, err := strconv.Atoi(r.header.Get("Content-Length")); err == nil && length > 0 {
		r.body.Grow(length)
	}
}

// Write implements http.ResponseWriter.
func (r *rendered) Write(p []byte) (int, error) { return r.body.Write(p) }

// markImmutable lets clients keep the document for a year. They never keep an error.
func (r *rendered) markImmutable() {
	if r.code == http.StatusOK {
		r.header.Set("Cache-Control", "public, immutable")
		r.header.Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123)) //nolint:forbidigo // a header for caches
	}
}

// writeTo writes the answer. It takes as long as the client takes to read it.
func (r *rendered) writeTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.header)
	w.WriteHeader(r.code)
	_, _ = w.Write(r.body.Bytes()) //nolint:gosec // a document of the API server, with its content type
}

// renderCounted returns what renderGroup does, once the account of the request has room for the answer. While it waits,
// it has no answer in memory.
func (d *Description) renderCounted(req *http.Request, path string, service *restful.WebService,
	crds []*apiextensionsv1.CustomResourceDefinition,
) (*rendered, error) {
	answer, err := d.renderGroup(req, path, service, crds)
	if err != nil {
		return nil, err
	}
	size := int64(answer.body.Len())
	if requestmemory.TryAdd(req.Context(), size) {
		return answer, nil
	}
	if err := requestmemory.Add(req.Context(), size); err != nil {
		return nil, err
	}
	return d.renderGroup(req, path, service, crds)
}

// renderGroup returns the answer to a request for the document of one group and version. One document is built at a
// time, and is dropped before a client gets the answer.
func (d *Description) renderGroup(req *http.Request, path string, service *restful.WebService,
	crds []*apiextensionsv1.CustomResourceDefinition,
) (*rendered, error) {
	inner := req.Clone(req.Context())
	inner.URL.RawQuery = "" // upstream's handler would compare it with a hash of the content
	d.mu.Lock()
	defer d.mu.Unlock()
	document, err := d.buildGroup(req.Context(), path, service, crds)
	if err != nil {
		return nil, err
	}
	answer := &rendered{code: http.StatusOK, header: http.Header{}}
	document.ServeHTTP(answer, inner)
	return answer, nil
}
