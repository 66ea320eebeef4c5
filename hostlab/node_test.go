package hostlab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	proxyconfig "k8s.io/kube-proxy/config/v1alpha1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// newLocalHost returns a local host that never runs.
func newLocalHost(t *testing.T) *local {
	t.Helper()
	return newLocal(t.TempDir(), &steps{out: &strings.Builder{}}, false)
}

func TestWriteChanged(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "new", "file")
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	touched := func(content string) bool {
		if err := writeChanged(file, []byte(content)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := !info.ModTime().Equal(old)
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
		return changed
	}
	if !touched("a") {
		t.Error("a new file was not written")
	}
	if touched("a") {
		t.Error("equal content was written again: kube-proxy would end")
	}
	if !touched("b") {
		t.Error("new content was not written")
	}
}

// argument finds the value of --NAME=VALUE or of --NAME VALUE.
func argument(d daemon, name string) string {
	for i, arg := range d.args {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
		if arg == name {
			return d.args[i+1]
		}
	}
	return ""
}

func readStrict(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s has a key that nobody knows: %v", filepath.Base(file), err)
	}
}

func TestKubeletConfig(t *testing.T) {
	t.Parallel()
	l := newLocalHost(t)
	d, err := l.kubelet()
	if err != nil {
		t.Fatal(err)
	}
	var config kubeletconfig.KubeletConfiguration
	readStrict(t, argument(d, "--config"), &config)
	if config.FailCgroupV1 == nil || *config.FailCgroupV1 {
		t.Error("the kubelet refuses machines with cgroups of version 1")
	}
	if config.CgroupRoot != "/"+cgroupName || config.CgroupDriver != "cgroupfs" {
		t.Errorf("cgroups below %q by %q, want our own and no systemd", config.CgroupRoot, config.CgroupDriver)
	}
	if diff := cmp.Diff([]string{dnsServiceIP}, config.ClusterDNS); diff != "" {
		t.Errorf("DNS of pods: -want, +got:\n%s", diff)
	}
	if got := config.ContainerRuntimeEndpoint; got != "unix://"+l.containerdSocket() {
		t.Errorf("the kubelet calls %s, where containerd is not", got)
	}
}

func TestKubeProxyConfig(t *testing.T) {
	t.Parallel()
	l := newLocalHost(t)
	d, err := l.kubeProxy()
	if err != nil {
		t.Fatal(err)
	}
	var config proxyconfig.KubeProxyConfiguration
	readStrict(t, argument(d, "--config"), &config)
	if config.ClusterCIDR != podCIDR || config.HostnameOverride != nodeName {
		t.Errorf("kube-proxy takes care of %s on %s", config.ClusterCIDR, config.HostnameOverride)
	}
	if config.Conntrack.MaxPerCore == nil || *config.Conntrack.MaxPerCore != 0 {
		t.Error("kube-proxy sets limits of connection tracking, which belong to the machine")
	}
}

func TestContainerd(t *testing.T) {
	t.Parallel()
	l := newLocalHost(t)
	d, err := l.containerd()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(argument(d, "--config"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"restrict_oom_score_adj = true", `sandbox = "` + pauseImage + `"`, `BinaryName = "` + l.binary("runc") + `"`,
		`address = "` + l.containerdSocket() + `"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("containerd's configuration lacks %s", want)
		}
	}
	for _, registry := range []string{"_default", "localhost"} {
		hosts, err := os.ReadFile(l.path("run", "registries", registry, "hosts.toml"))
		if err != nil || !strings.Contains(string(hosts), "http://"+registryAddr) {
			t.Errorf("images of %s are not looked up in our registry: %v\n%s", registry, err, hosts)
		}
	}
	if files, err := filepath.Glob(l.path("run", "cni", "*.conflist")); err != nil || len(files) != 1 {
		t.Errorf("%d pod networks, %v; want one", len(files), err)
	}
}

func TestCoreDNS(t *testing.T) {
	t.Parallel()
	l := newLocalHost(t)
	d, err := l.coreDNS()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(argument(d, "-conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cluster.local in-addr.arpa ip6.arpa {", "kubeconfig " + l.pki.kubeconfig("coredns"), machineIP + " " + outsideName, "rcode NXDOMAIN",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the Corefile lacks %q", want)
		}
	}
	if strings.Contains(string(text), "%!") {
		t.Errorf("the Corefile has a hole:\n%s", text)
	}
	if open, closed := strings.Count(string(text), "{"), strings.Count(string(text), "}"); open != closed {
		t.Errorf("the Corefile opens %d blocks and closes %d", open, closed)
	}
}

func TestDaemonsShareWhatTheyMust(t *testing.T) {
	t.Parallel()
	l := newLocalHost(t)
	api, err := l.apiServer()
	if err != nil {
		t.Fatal(err)
	}
	loops := l.controlLoopDaemons()
	if key, public := argument(loops[0], "--service-account-private-key-file"), argument(api, "--service-account-key-file"); strings.TrimSuffix(key, ".key") != strings.TrimSuffix(public, ".pub") {
		t.Errorf("tokens are signed by %s and checked by %s", key, public)
	}
	if a, b := argument(loops[0], "--service-cluster-ip-range"), argument(api, "--service-cluster-ip-range"); a != b {
		t.Errorf("services are in %s and in %s", a, b)
	}
	created := newCredentials(t)
	l.pki = created
	if api, err = l.apiServer(); err != nil {
		t.Fatal(err)
	}
	for _, d := range append(loops, api) {
		for _, arg := range d.args {
			_, value, _ := strings.Cut(arg, "=")
			if !strings.HasPrefix(value, created.dir) {
				continue
			}
			if _, err := os.Stat(value); err != nil {
				t.Errorf("%s is started with %s, which nobody wrote", d.name, arg)
			}
		}
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	all, err := objects()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, object := range all {
		found[object.GetKind()+" "+object.GetName()] = true
		if object.GetAPIVersion() == "" || object.GetName() == "" {
			t.Errorf("an object without version or name: %v", object.Object)
		}
	}
	for _, want := range []string{"Service kube-dns", "EndpointSlice kube-dns-node", "StorageClass folders"} {
		if !found[want] {
			t.Errorf("no %s among the objects", want)
		}
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	node := func(status corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: nodeName},
			Spec:       corev1.NodeSpec{Taints: taints},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
				{Type: corev1.NodeReady, Status: status, Message: "because"},
			}},
		}
	}
	cases := map[string]struct {
		reason string
		node   *corev1.Node
		want   string
	}{
		"Ready":    {"A ready node takes pods.", node(corev1.ConditionTrue), ""},
		"NotReady": {"The kubelet's reason is passed on.", node(corev1.ConditionFalse), "because"},
		"Tainted": {
			"The node is ready before the controller takes its taint away.",
			node(corev1.ConditionTrue, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}),
			"tainted",
		},
		"Avoided": {
			"A preference keeps nobody off.",
			node(corev1.ConditionTrue, corev1.Taint{Key: "shy", Effect: corev1.TaintEffectPreferNoSchedule}),
			"",
		},
		"New": {"A node that said nothing yet is not ready.", &corev1.Node{}, "has not said"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := checkNodeStatus(tc.node)
			if got := errorText(err); !strings.Contains(got, tc.want) || (tc.want == "") != (err == nil) {
				t.Errorf("%s\nready: %v, want %q", tc.reason, err, tc.want)
			}
		})
	}
}
