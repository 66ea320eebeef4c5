package translate

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func TestMerge(t *testing.T) {
	t.Parallel()
	type m = map[string]string
	tests := map[string]struct {
		reason                string
		agreed, host, virtual m
		wins                  Wins
		want                  m
	}{
		"BesideEachOther": {
			reason: "each side added a key of its own",
			agreed: m{}, host: m{"zone": "a"}, virtual: m{"team": "web"},
			want: m{"zone": "a", "team": "web"},
		},
		"HostChanged": {
			reason: "the tenant's copy still has the agreed value",
			agreed: m{"zone": "a"}, host: m{"zone": "b"}, virtual: m{"zone": "a"}, wins: VirtualWins,
			want: m{"zone": "b"},
		},
		"VirtualChanged": {
			reason: "the host still has the agreed value",
			agreed: m{"zone": "a"}, host: m{"zone": "a"}, virtual: m{"zone": "c"},
			want: m{"zone": "c"},
		},
		"HostRemoved": {
			reason: "what the host took away goes",
			agreed: m{"zone": "a"}, host: nil, virtual: m{"zone": "a"}, wins: VirtualWins,
			want: nil,
		},
		"VirtualRemoved": {
			reason: "what the tenant took away goes",
			agreed: m{"zone": "a"}, host: m{"zone": "a"}, virtual: nil,
			want: nil,
		},
		"ConflictHost": {
			reason: "both changed it, the host owns it",
			agreed: m{"zone": "a"}, host: m{"zone": "b"}, virtual: m{"zone": "c"},
			want: m{"zone": "b"},
		},
		"ConflictVirtual": {
			reason: "both changed it, the tenant owns it",
			agreed: m{"zone": "a"}, host: m{"zone": "b"}, virtual: m{"zone": "c"}, wins: VirtualWins,
			want: m{"zone": "c"},
		},
		"ChangedAndRemoved": {
			reason: "the host changed what the tenant removed, the host owns it",
			agreed: m{"zone": "a"}, host: m{"zone": "b"}, virtual: nil,
			want: m{"zone": "b"},
		},
		"ChangedAndRemovedVirtual": {
			reason: "the host changed what the tenant removed, the tenant owns it",
			agreed: m{"zone": "a"}, host: m{"zone": "b"}, virtual: nil, wins: VirtualWins,
			want: nil,
		},
		"RemovedAndChanged": {
			reason: "the host removed what the tenant changed, the host owns it",
			agreed: m{"zone": "a"}, host: nil, virtual: m{"zone": "c"},
			want: nil,
		},
		"NothingAgreed": {
			reason: "without a common past no side has removed anything",
			agreed: nil, host: m{"zone": "a", "both": "h"}, virtual: m{"team": "web", "both": "v"},
			want: m{"zone": "a", "team": "web", "both": "h"},
		},
		"EmptyIsAValue": {
			reason: "an empty value is not a missing one",
			agreed: m{"zone": ""}, host: m{"zone": ""}, virtual: nil,
			want: nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Merge(Agree(tt.agreed), tt.host, tt.virtual, tt.wins)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
		})
	}
}

func state() *rapid.Generator[map[string]string] {
	return rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.SampledFrom([]string{"", "1", "2", "3"}))
}

// either draws the side that wins.
func either(t *rapid.T) Wins {
	return rapid.SampledFrom([]Wins{HostWins, VirtualWins}).Draw(t, "wins")
}

func TestMergeProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		agreed, host, virtual := state().Draw(t, "agreed"), state().Draw(t, "host"), state().Draw(t, "virtual")
		wins := either(t)
		equal := func(law string, want, got map[string]string) {
			t.Helper()
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", law, diff)
			}
		}
		hostBefore, virtualBefore := maps.Clone(host), maps.Clone(virtual)
		merged := Merge(Agree(agreed), host, virtual, wins)
		equal("the host's map is not touched", hostBefore, host)
		equal("the virtual map is not touched", virtualBefore, virtual)

		equal("a side that has not moved follows the host", host, Merge(Agree(agreed), host, agreed, wins))
		equal("a side that has not moved follows the tenant", virtual, Merge(Agree(agreed), agreed, virtual, wins))
		equal("two equal sides stay equal", host, Merge(Agree(agreed), host, host, wins))
		equal("once agreed nothing changes", merged, Merge(Agree(merged), merged, merged, wins))
		equal("the sides can be exchanged with the winner", merged, Merge(Agree(agreed), virtual, host, VirtualWins-wins))

		for key, value := range merged {
			h, inHost := host[key]
			v, inVirtual := virtual[key]
			if !(inHost && h == value) && !(inVirtual && v == value) {
				t.Errorf("%s=%q is of neither side", key, value)
			}
		}
	})
}

func TestMergeListKeepsOrderAndKeys(t *testing.T) {
	t.Parallel()
	key := func(taint corev1.Taint) string { return taint.Key + ":" + string(taint.Effect) }
	taint := func(k, value string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: k, Value: value, Effect: effect}
	}
	agreed := []corev1.Taint{taint("gpu", "yes", corev1.TaintEffectNoSchedule), taint("old", "", corev1.TaintEffectNoExecute)}
	host := []corev1.Taint{taint("gpu", "no", corev1.TaintEffectNoSchedule), taint("gpu", "no", corev1.TaintEffectNoExecute)}
	virtual := []corev1.Taint{taint("mine", "", corev1.TaintEffectNoSchedule), taint("gpu", "yes", corev1.TaintEffectNoSchedule), taint("old", "", corev1.TaintEffectNoExecute)}

	got := MergeList(AgreeList(agreed, key), host, virtual, key, HostWins)
	want := []corev1.Taint{
		taint("gpu", "no", corev1.TaintEffectNoSchedule),
		taint("gpu", "no", corev1.TaintEffectNoExecute),
		taint("mine", "", corev1.TaintEffectNoSchedule),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the host's order, each key and effect once (-want +got):\n%s", diff)
	}
	if got := MergeList(AgreeList(agreed, key), nil, agreed, key, HostWins); got != nil {
		t.Errorf("the host removed all, got %v", got)
	}
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
