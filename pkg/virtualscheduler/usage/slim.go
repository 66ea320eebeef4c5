package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// newClient returns a client of the host that reads of a pod only what its requests need. All
// other fields, such as the environment of containers, are skipped before the pod is decoded.
func newClient(host *rest.Config) (rest.Interface, error) {
	config := rest.CopyConfig(host)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	config.NegotiatedSerializer = slimSerializer{scheme.Codecs.WithoutConversion()}
	return rest.RESTClientFor(config)
}

// slimSerializer decodes protobuf alone, without the fields of pods that no sum needs.
type slimSerializer struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (s slimSerializer) SupportedMediaTypes() []runtime.SerializerInfo {
	var slim []runtime.SerializerInfo
	for _, info := range s.NegotiatedSerializer.SupportedMediaTypes() {
		if info.MediaType == runtime.ContentTypeProtobuf {
			info.Serializer = slimDecoder{info.Serializer}
			slim = append(slim, info)
		}
	}
	return slim
}

// slimDecoder decodes an object without the fields that no sum needs.
type slimDecoder struct{ runtime.Serializer }

// protobufPrefix begins every object in protobuf.
const protobufPrefix = "k8s\x00"

// Decode implements runtime.Decoder.
func (d slimDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	slim, err := slimObject(data)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read an object of the host: %w", err)
	}
	return d.Serializer.Decode(slim, defaults, into)
}

// slimObject returns an encoded object without the fields that no sum needs. It changes pods
// and lists of pods alone.
func slimObject(data []byte) ([]byte, error) {
	if len(data) < len(protobufPrefix) || string(data[:len(protobufPrefix)]) != protobufPrefix {
		return data, nil // The decoder returns the error.
	}
	var object runtime.Unknown
	if err := object.Unmarshal(data[len(protobufPrefix):]); err != nil {
		return nil, err
	}
	var keep message
	switch object.Kind {
	case "Pod":
		keep = podFields()
	case "PodList":
		keep = message{fields: map[uint64]message{1: {}, 2: podFields()}}
	default:
		return data, nil
	}
	var err error
	if object.Raw, err = keep.slim(object.Raw); err != nil {
		return nil, err
	}
	slim, err := object.Marshal()
	return append([]byte(protobufPrefix), slim...), err
}

// message has the fields of a message in protobuf that are kept.
type message struct {
	// fields maps number -> the fields to keep inside. nil keeps the whole message.
	fields map[uint64]message
	// key is, for the entries of a map, the key of the entry to keep. Empty keeps all.
	key string
}

// podFields returns what is kept of a pod: its name and version, its node, and all that
// the sum of its requests depends on. The numbers are those of generated.proto.
func podFields() message {
	whole := message{}
	container := message{fields: map[uint64]message{1: whole, 8: whole, 24: whole}} // name, resources, restartPolicy
	status := message{fields: map[uint64]message{1: whole, 10: whole, 11: whole}}   // name, allocatedResources, resources
	condition := message{fields: map[uint64]message{1: whole, 2: whole, 5: whole}}  // type, status, reason
	return message{fields: map[uint64]message{
		// name, namespace, resourceVersion, and the annotation that ends a list by watch
		1: {fields: map[uint64]message{1: whole, 3: whole, 6: whole, 12: {key: metav1.InitialEventsAnnotationKey}}},
		// containers, nodeName, initContainers, overhead, resources
		2: {fields: map[uint64]message{2: container, 10: whole, 20: container, 32: whole, 40: whole}},
		// phase, conditions, containerStatuses, initContainerStatuses, resize, allocatedResources, resources
		3: {fields: map[uint64]message{1: whole, 2: condition, 8: status, 10: status, 14: whole, 19: whole, 20: whole}},
	}}
}

// The wire types of protobuf. Messages, strings and maps are delimited.
const (
	wireVarint    = 0
	wireFixed64   = 1
	wireDelimited = 2
	wireFixed32   = 5
)

var errTruncated = errors.New("the message is truncated")

// slim returns an encoded message without the fields that are not kept.
func (m message) slim(data []byte) ([]byte, error) {
	if m.fields == nil {
		return data, nil
	}
	var slim []byte
	for len(data) > 0 {
		tag, head := binary.Uvarint(data)
		if head <= 0 {
			return nil, errTruncated
		}
		content, size, err := fieldAt(tag&7, data[head:])
		if err != nil {
			return nil, err
		}
		inner, kept := m.fields[tag>>3]
		switch {
		case !kept || inner.key != "" && !hasKey(content, inner.key):
		case tag&7 == wireDelimited && inner.fields != nil:
			if content, err = inner.slim(content); err != nil {
				return nil, err
			}
			slim = binary.AppendUvarint(binary.AppendUvarint(slim, tag), uint64(len(content)))
			slim = append(slim, content...)
		default:
			slim = append(slim, data[:head+size]...)
		}
		data = data[head+size:]
	}
	return slim, nil
}

// fieldAt returns the content of a delimited field at the start of data, and the size of any
// field with its length.
func fieldAt(wire uint64, data []byte) (content []byte, size int, err error) {
	switch wire {
	case wireVarint:
		_, size = binary.Uvarint(data)
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireDelimited:
		length, head := binary.Uvarint(data)
		if head <= 0 || length > uint64(len(data)) || int(length) > len(data)-head { //nolint:gosec // It is bounded before.
			return nil, 0, errTruncated
		}
		size = head + int(length) //nolint:gosec // It is bounded by the length of data.
		content = data[head:size]
	default:
		return nil, 0, fmt.Errorf("unknown wire type %d", wire)
	}
	if size <= 0 || size > len(data) {
		return nil, 0, errTruncated
	}
	return content, size, nil
}

// hasKey reports whether an encoded entry of a map has that key, which is its first field.
func hasKey(entry []byte, key string) bool {
	want := append(binary.AppendUvarint([]byte{1<<3 | wireDelimited}, uint64(len(key))), key...)
	return len(entry) >= len(want) && slices.Equal(entry[:len(want)], want)
}
