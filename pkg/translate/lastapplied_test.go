package translate

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func state() *rapid.Generator[map[string]string] {
	return rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.SampledFrom([]string{"", "1", "2", "3"}))
}

func TestAgreedText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		fields := map[string]LastApplied{"labels": DigestValues(state().Draw(t, "labels")), "taints": DigestValues(state().Draw(t, "taints"))}
		text, err := EncodeLastApplied(fields)
		if err != nil {
			t.Fatal(err)
		}
		again, err := EncodeLastApplied(maps.Clone(fields))
		if err != nil || again != text {
			t.Errorf("the same state is written as %s and as %s (%v)", text, again, err)
		}
		if diff := cmp.Diff(fields, DecodeLastApplied(text), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	})
}

func TestAgreedTextThatSomebodyEdited(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "null", "{", "[]", `{"labels":7}`, `"x"`} {
		fields := DecodeLastApplied(text)
		if fields == nil || len(fields["labels"]) != 0 {
			t.Errorf("DecodeLastApplied(%q) = %v, want that nothing is digests", text, fields)
		}
	}
}

func TestAgreeTellsTypesApart(t *testing.T) {
	t.Parallel()
	same := DigestValues(map[string]corev1.Taint{"a": {Key: "a"}})
	if diff := cmp.Diff(same, DigestValues(map[string]corev1.Taint{"a": {Key: "a"}})); diff != "" {
		t.Errorf("equal values have different digests:\n%s", diff)
	}
	for name, other := range map[string]LastApplied{
		"another value":  DigestValues(map[string]corev1.Taint{"a": {Key: "b"}}),
		"text of it":     DigestValues(map[string]string{"a": `{"key":"a","effect":""}`}),
		"another key":    DigestValues(map[string]corev1.Taint{"b": {Key: "a"}}),
		"nothing at all": DigestValues(map[string]corev1.Taint{}),
	} {
		if cmp.Equal(same, other) {
			t.Errorf("%s has the same digest", name)
		}
	}
}
