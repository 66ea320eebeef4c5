package app

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/pkg/app/host"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	good := Options{ConfigFile: "c", Name: "shop", Namespace: "tenant", DataDir: "/data", OperatorPort: -1, DNSPort: -1, processUID: "p"}
	for name, tc := range map[string]struct {
		reason string
		change func(*Options)
		want   string
	}{
		"Good":     {"outside of a pod", func(*Options) {}, ""},
		"InPod":    {"in a pod", func(o *Options) { o.PodName, o.PodUID = "shop-1", "u" }, ""},
		"HalfPod":  {"a name without a UID proves nothing", func(o *Options) { o.PodName = "shop-1" }, "--pod-uid"},
		"Operator": {"no such port", func(o *Options) { o.OperatorPort = 70000 }, "--operator-port"},
		"Missing":  {"all that is missing at once", func(o *Options) { o.Name, o.DataDir = "", "" }, "--data-dir must be set"},
	} {
		options := good
		tc.change(&options)
		err := options.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %s: %v", name, tc.reason, err)
		}
	}
	inPod := good
	inPod.PodName, inPod.PodUID = "shop-1", "u"
	want := []host.Identity{{Pod: "shop-0", UID: "p"}, {Pod: "shop-1", UID: "u", InPod: true}}
	if diff := cmp.Diff(want, []host.Identity{good.identity(), inPod.identity()}); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
}
