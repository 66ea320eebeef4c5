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
		fields := map[string]Agreed{"labels": Agree(state().Draw(t, "labels")), "taints": Agree(state().Draw(t, "taints"))}
		text, err := EncodeAgreed(fields)
		if err != nil {
			t.Fatal(err)
		}
		again, err := EncodeAgreed(maps.Clone(fields))
		if err != nil || again != text {
			t.Errorf("the same state is written as %s and as %s (%v)", text, again, err)
		}
		if diff := cmp.Diff(fields, DecodeAgreed(text), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	})
}

func TestAgreedTextThatSomebodyEdited(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "null", "{", "[]", `{"labels":7}`, `"x"`} {
		fields := DecodeAgreed(text)
		if fields == nil || len(fields["labels"]) != 0 {
			t.Errorf("DecodeAgreed(%q) = %v, want that nothing is agreed", text, fields)
		}
	}
}

func TestAgreeTellsTypesApart(t *testing.T) {
	t.Parallel()
	same := Agree(map[string]corev1.Taint{"a": {Key: "a"}})
	if diff := cmp.Diff(same, Agree(map[string]corev1.Taint{"a": {Key: "a"}})); diff != "" {
		t.Errorf("equal values have different digests:\n%s", diff)
	}
	for name, other := range map[string]Agreed{
		"another value":  Agree(map[string]corev1.Taint{"a": {Key: "b"}}),
		"text of it":     Agree(map[string]string{"a": `{"key":"a","effect":""}`}),
		"another key":    Agree(map[string]corev1.Taint{"b": {Key: "a"}}),
		"nothing at all": Agree(map[string]corev1.Taint{}),
	} {
		if cmp.Equal(same, other) {
			t.Errorf("%s has the same digest", name)
		}
	}
}
