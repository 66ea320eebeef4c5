package controlplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// nestedDefinition returns a definition in protobuf whose schema has so many levels.
func nestedDefinition(t *testing.T, levels int) []byte {
	t.Helper()
	content := &apiextensionsv1.JSONSchemaProps{Type: "object"}
	innermost := content
	for range levels {
		innermost.Not = &apiextensionsv1.JSONSchemaProps{}
		innermost = innermost.Not
	}
	plural := fmt.Sprintf("d%ds", levels)
	definition := &apiextensionsv1.CustomResourceDefinition{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: plural + ".example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: fmt.Sprintf("D%d", levels)},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: content},
			}},
		},
	}
	body := &bytes.Buffer{}
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(definition, body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

// TestNestedDefinition creates definitions in protobuf that are nested deeply. What the store could not decode must
// never be stored.
func TestNestedDefinition(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	definitions := apiextensionsclient.NewForConfigOrDie(p.kubeconfig(t, "admin", pki.GroupAdmins)).ApiextensionsV1()
	for levels, accepted := range map[int]bool{100: true, 10_100: false} {
		err := definitions.RESTClient().Post().Resource("customresourcedefinitions").
			SetHeader("Content-Type", runtime.ContentTypeProtobuf).Body(nestedDefinition(t, levels)).Do(t.Context()).Error()
		if (err == nil) != accepted {
			t.Errorf("%d levels: got %v, want it accepted: %t", levels, err, accepted)
		}
	}
	if _, err := definitions.CustomResourceDefinitions().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("what is stored cannot be read again: %v", err)
	}
}

// TestNestedEntries nests schemas by entries of maps that no encoder writes.
func TestNestedEntries(t *testing.T) {
	t.Parallel()
	for reason, tag := range map[string]byte{"a value beyond its entry": 0x12, "a value of another type": 0x17} {
		var chain []byte
		for range 2 * maxNesting {
			value := append([]byte{tag}, binary.AppendUvarint(nil, uint64(len(chain)))...)
			size := len(value)
			if tag != 0x12 {
				size += len(chain)
			}
			entry := append(binary.AppendUvarint([]byte{0xea, 0x01}, uint64(size)), value...)
			chain = append(entry, chain...)
		}
		if !isNestedDeeper(chain, maxNesting) {
			t.Errorf("%s passes", reason)
		}
	}
}

// TestNesting counts the levels of messages.
func TestNesting(t *testing.T) {
	t.Parallel()
	nested := func(levels int) []byte {
		var reversed []byte
		for range levels { // from the innermost to the outermost
			length := len(reversed)
			var size []byte
			for ; length >= 0x80; length >>= 7 {
				size = append(size, byte(length)|0x80)
			}
			size = append(size, byte(length))
			slices.Reverse(size)
			reversed = append(reversed, size...)
			reversed = append(reversed, 0x0a)
		}
		slices.Reverse(reversed)
		return reversed
	}
	for reason, tc := range map[string]struct {
		data []byte
		want bool
	}{
		"nothing":                        {nil, false},
		"text":                           {append([]byte{0x0a, 100}, bytes.Repeat([]byte("b"), 100)...), false},
		"as deep as it may be":           {nested(maxNesting - 1), false},
		"deeper":                         {nested(maxNesting + 1), true},
		"so deep that a stack would end": {nested(450_000), true},
		"fields before":                  {append([]byte{0x08, 0x96, 0x01, 0x15, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8}, nested(maxNesting+1)...), true},
		"a number without an end":        {bytes.Repeat([]byte{0xff}, 100), false},
		"a length beyond the end":        {[]byte{0x0a, 0x7f, 0x0a}, false},
	} {
		if got := isNestedDeeper(tc.data, maxNesting); got != tc.want {
			t.Errorf("%s: got %t, want %t", reason, got, tc.want)
		}
	}
}
