package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

const (
	// maxNesting is how deep the messages of a definition in protobuf may be nested. Each level is at most two of
	// JSON, of which the store's decoder takes 10,000.
	maxNesting = 1000
	// protobufPrefix is what protobuf of Kubernetes begins with.
	protobufPrefix = "k8s\x00"
)

// withBoundedNesting denies definitions of custom resources in protobuf that are nested too deeply. Upstream decodes
// them by recursion without a limit. That ends the process, or stores what can never be read again.
func (a *assembly) withBoundedNesting(next http.Handler, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		if !ok || !info.IsResourceRequest || info.APIGroup != apiextensions.GroupName || req.Body == nil || loopback.IsLoopback(req.Context()) {
			next.ServeHTTP(w, req)
			return
		}
		body, err := io.ReadAll(io.LimitReader(req.Body, limit+1))
		if err == nil && bytes.HasPrefix(body, []byte(protobufPrefix)) && isNestedDeeper(body[len(protobufPrefix):], maxNesting) {
			err = apierrors.NewBadRequest(fmt.Sprintf("the definition is nested more than %d levels deep; must be at most that", maxNesting))
		}
		if err != nil {
			version := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
			responsewriters.ErrorNegotiated(err, legacyscheme.Codecs, version, w, req)
			return
		}
		req.Body = readBody{io.MultiReader(bytes.NewReader(body), req.Body), req.Body}
		next.ServeHTTP(w, req)
	})
}

// readBody is a body of which a part was read before.
type readBody struct {
	io.Reader
	io.Closer
}

// isNestedDeeper reports whether messages in protobuf are nested more than limit levels deep. It takes each field with a
// length for a message until it cannot be one, because it does not know the types.
func isNestedDeeper(data []byte, limit int) bool {
	at, ends := 0, []int{len(data)}
	for len(ends) > 0 {
		end := ends[len(ends)-1]
		field := readField(data[:end], at)
		switch {
		case field.isMessage:
			at, ends = field.begin, append(ends, field.end)
			if len(ends) > limit {
				return true
			}
		case field.end < 0: // The message has ended, or is none.
			at, ends = end, ends[:len(ends)-1]
		default:
			at = field.end
		}
	}
	return false
}

// wireField is a field of a message, between two offsets. The end is negative if there is none.
type wireField struct {
	begin, end int
	isMessage  bool // it has a length
}

// noField returns the field for data without one.
func noField() wireField { return wireField{end: -1} }

// readField returns the field at an offset. Upstream's decoders read no more than that.
func readField(data []byte, at int) wireField {
	tag, begin := readVarint(data, at)
	if begin < 0 {
		return noField()
	}
	end := begin
	switch tag & 7 {
	case 0:
		_, end = readVarint(data, begin)
	case 1:
		end = begin + 8
	case 2:
		length, inner := readVarint(data, begin)
		if inner < 0 || length > uint64(len(data)-inner) { //nolint:gosec // inner is at most the length of data
			return noField()
		}
		return wireField{begin: inner, end: inner + int(length), isMessage: true} //nolint:gosec // at most the length of data
	case 3, 4: // Groups have ends of their own.
	case 5:
		end = begin + 4
	default:
		return noField()
	}
	if end > len(data) {
		return noField()
	}
	return wireField{begin: begin, end: end}
}

// readVarint returns the number at an offset and the offset after it, negative if there is none.
func readVarint(data []byte, at int) (value uint64, next int) {
	for shift := uint(0); shift < 64 && at < len(data); shift += 7 {
		b := data[at]
		at++
		value |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return value, at
		}
	}
	return 0, -1
}
