package virtualscheduler

import (
	"slices"
	"strings"
	"testing"

	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
)

const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ reason, text, want string }{
		"unknown field":    {"a typing error must not be ignored", head + "profiels: []\n", `unknown field "profiels"`},
		"unknown argument": {"arguments of plugins too", head + "profiles: [{pluginConfig: [{name: NodeAffinity, args: {addedAffinty: {}}}]}]\n", `"addedAffinty"`},
		"field twice":      {"one of the two would be ignored", head + "parallelism: 3\nparallelism: 4\n", `"parallelism" already set`},
		"no kind":          {"nothing says what it is", "profiles: []\n", "Kind"},
		"other kind":       {"the kind of another program", "apiVersion: v1\nkind: Pod\n", "no kind"},
		"value":            {"the path is named", head + "podInitialBackoffSeconds: -1\n", "podInitialBackoffSeconds"},
		"two of a name":    {"profiles are told apart by name", head + "profiles: [{schedulerName: a}, {schedulerName: a}]\n", "profiles[1].schedulerName"},
		"kubeconfig":       {"it would have no effect", head + "clientConnection: {kubeconfig: /a}\n", "clientConnection.kubeconfig"},
		"volumes":          {"the host alone binds them", head + "profiles: [{plugins: {preBind: {enabled: [{name: VolumeBinding}]}}}]\n", "profiles[0].plugins.preBind.enabled: VolumeBinding"},
		"of the host":      {"two would schedule one pod", head + "profiles: [{schedulerName: batch}]\n", "profiles[0].schedulerName"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := loadConfig(test.text, []string{"batch"}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want one with %s", test.reason, err, test.want)
			}
		})
	}
}

func TestEveryProfileAsksTheHost(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"default":      "",
		"two profiles": head + "profiles: [{schedulerName: a}, {schedulerName: b}]\n",
		"own plugins":  head + "profiles: [{plugins: {multiPoint: {disabled: [{name: NodeAffinity}]}, preBind: {disabled: [{name: '*'}]}, bind: {disabled: [{name: '*'}], enabled: [{name: DefaultBinder}]}}}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := loadConfig(text, nil)
			if err != nil {
				t.Fatal(err)
			}
			if config.LeaderElection.LeaderElect {
				t.Error("it waits for a lease")
			}
			for _, profile := range config.Profiles {
				ours := func(p schedulerconfig.Plugin) bool { return p.Name == pluginName }
				if !slices.ContainsFunc(profile.Plugins.MultiPoint.Enabled, ours) {
					t.Errorf("profile %s does not ask the host", profile.SchedulerName)
				}
				for point, set := range map[string]schedulerconfig.PluginSet{
					"filter": profile.Plugins.Filter, "postFilter": profile.Plugins.PostFilter,
					"preScore": profile.Plugins.PreScore, "score": profile.Plugins.Score,
					"preBind": profile.Plugins.PreBind, "bind": profile.Plugins.Bind,
				} {
					if !ours(set.Enabled[0]) {
						t.Errorf("the plugin is not the first at %s of profile %s", point, profile.SchedulerName)
					}
				}
			}
		})
	}
}
