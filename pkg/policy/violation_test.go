package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sublet-dev/sublet/pkg/policy"
)

func TestMessage(t *testing.T) {
	t.Parallel()
	network := policy.Violation{
		Field: "spec.hostNetwork", Value: "true", Detail: "pods do not share the node's network", Setting: "policies.a",
	}
	volume := policy.Violation{Field: "spec.volumes[0].nfs", Detail: "nfs volumes are not allowed", Setting: "policies.b"}
	for _, c := range []struct {
		reason     string
		violations []policy.Violation
		want       string
	}{
		{"nothing is wrong", nil, ""},
		{
			"one field",
			[]policy.Violation{network},
			`spec.hostNetwork: "true": pods do not share the node's network. The operator of the host can change this with policies.a.`,
		},
		{
			"a setting is named once",
			[]policy.Violation{network, volume, network},
			`spec.hostNetwork: "true": pods do not share the node's network; spec.volumes[0].nfs: nfs volumes are not allowed; ` +
				`spec.hostNetwork: "true": pods do not share the node's network. ` +
				`The operator of the host can change this with policies.a and policies.b.`,
		},
		{
			"an object may have thousands of them",
			slices.Repeat([]policy.Violation{volume}, 1000),
			strings.Repeat("spec.volumes[0].nfs: nfs volumes are not allowed; ", 10) +
				"and 990 more fields. The operator of the host can change this with policies.b.",
		},
		{
			"the settings of all are named",
			append(slices.Repeat([]policy.Violation{volume}, 10), network),
			strings.Repeat("spec.volumes[0].nfs: nfs volumes are not allowed; ", 10) +
				"and 1 more field. The operator of the host can change this with policies.b and policies.a.",
		},
		{
			"no setting allows it",
			[]policy.Violation{{Field: "spec.x", Value: "y", Detail: "is never allowed"}},
			`spec.x: "y": is never allowed`,
		},
		{
			"a long value is cut between characters",
			[]policy.Violation{{Field: "spec.x", Value: strings.Repeat("ä", 100), Detail: "is too long"}},
			`spec.x: "` + strings.Repeat("ä", 80) + `…": is too long`,
		},
	} {
		if got := policy.Message(c.violations); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.reason, got, c.want)
		}
	}
}

func TestShortMessage(t *testing.T) {
	t.Parallel()
	violations := slices.Repeat([]policy.Violation{{Field: "spec.x", Value: strings.Repeat("y", 500), Detail: "is too long", Setting: "policies.a"}}, 100)
	got := policy.ShortMessage(violations)
	if want := "and 98 more fields. The operator of the host can change this with policies.a."; !strings.HasSuffix(got, want) || len(got) > 900 {
		t.Errorf("got %d bytes, want the setting within the room of an Event:\n%s", len(got), got)
	}
}
