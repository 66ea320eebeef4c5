package app

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
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

// TestParts checks which parts may run alone, and what a process with them does.
func TestParts(t *testing.T) {
	t.Parallel()
	for reason, tc := range map[string]struct {
		parts         []string
		serves, leads bool
		refused       string
	}{
		"all by default":       {nil, true, true, ""},
		"all by name":          {[]string{"scheduler", "syncer", "controllers", "api"}, true, true, ""},
		"the API alone":        {[]string{"api"}, true, false, ""},
		"the rest alone":       {[]string{"controllers", "syncer", "scheduler"}, false, true, ""},
		"the rest, in part":    {[]string{"controllers", "syncer"}, false, true, "cannot run alone"},
		"the API and a part":   {[]string{"api", "syncer"}, true, false, "cannot run alone"},
		"a part that is twice": {[]string{"api", "api"}, true, false, "cannot run alone"},
		"a part that is none":  {[]string{"dns"}, false, false, "cannot run alone"},
	} {
		options := Options{ConfigFile: "c", Name: "shop", Namespace: "tenant", DataDir: "/data", Port: 8443, AdvertiseAddress: "10.0.0.7", Parts: tc.parts}
		err := options.Validate()
		if (err == nil) != (tc.refused == "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
			t.Errorf("%s: %v", reason, err)
		}
		if options.servesAPI() != tc.serves || options.canLead() != tc.leads {
			t.Errorf("%s: serves %t, can lead %t", reason, options.servesAPI(), options.canLead())
		}
		want := [2]string{":8443", "10.0.0.7"}
		if !tc.serves {
			want = [2]string{"127.0.0.1:8443", "127.0.0.1"}
		}
		if got := [2]string{options.apiAddress(), options.advertiseAddress().String()}; got != want {
			t.Errorf("%s: serves at %s and advertises %s, want %s", reason, got[0], got[1], want)
		}
	}
}

// TestSplitNeedsSharedStore runs parts apart from a store inside of a process.
func TestSplitNeedsSharedStore(t *testing.T) {
	t.Parallel()
	values := v1alpha1.Default(kinds.Settings()...)
	if err := checkSplit(Options{}, values); err != nil {
		t.Errorf("all parts: %v", err)
	}
	options := Options{Parts: []string{"api"}}
	if err := checkSplit(options, values); err == nil || !strings.Contains(err.Error(), "the store is etcd.embedded") {
		t.Errorf("a store inside of the process: %v", err)
	}
	values.ControlPlane.BackingStore.Etcd.External.Enabled = true
	if err := checkSplit(options, values); err != nil {
		t.Errorf("an external store: %v", err)
	}
}
