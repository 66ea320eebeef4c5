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

// wireMessage is a message around an offset.
type wireMessage struct {
	end     int
	isEntry bool // of a map whose values are schemas
}

// isNestedDeeper reports whether messages in protobuf are nested more than limit levels deep. It takes each field with a
// length for a message until it cannot be one, because it does not know the types. It also reports entries of maps
// that no encoder writes: upstream reads their values beyond the entry, and what follows the entry twice.
func isNestedDeeper(data []byte, limit int) bool {
	at, around := 0, []wireMessage{{end: len(data)}}
	for len(around) > 0 {
		in := around[len(around)-1]
		field := readField(data[:in.end], at)
		switch {
		case in.isEntry && at < in.end && !field.isPartOfEntry():
			return true
		case field.isMessage:
			at, around = field.begin, append(around, wireMessage{field.end, !in.isEntry && field.isMapOfSchemas()})
			if len(around) > limit {
				return true
			}
		case field.end < 0: // The message has ended, or is none.
			at, around = in.end, around[:len(around)-1]
		default:
			at = field.end
		}
	}
	return false
}

// wireField is a field of a message, between two offsets. The end is negative if there is none.
type wireField struct {
	begin, end int
	number     int32
	isMessage  bool // it has a length
}

// isPartOfEntry reports whether the field may be the key or the value of an entry of a map.
func (f wireField) isPartOfEntry() bool { return f.isMessage && (f.number == 1 || f.number == 2) }

// isMapOfSchemas reports whether the field of a schema is an entry of a map whose values are schemas. These are properties,
// patternProperties, dependencies and definitions.
func (f wireField) isMapOfSchemas() bool {
	return f.number == 29 || f.number == 31 || f.number == 32 || f.number == 34
}

// noField returns the field for data without one.
func noField() wireField { return wireField{end: -1} }

// readField returns the field at an offset. Outside of maps, upstream's decoders read no more than that.
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
		//nolint:gosec // The length is at most that of data, and upstream cuts numbers in the same way.
		return wireField{begin: inner, end: inner + int(length), number: int32(tag >> 3), isMessage: true}
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
