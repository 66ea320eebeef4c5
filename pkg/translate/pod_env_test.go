package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

func service(name, ip string, ports ...corev1.ServicePort) corev1.Service {
	return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
}

func texts(env []corev1.EnvVar) []string {
	var out []string
	for _, e := range env {
		out = append(out, e.Name+"="+e.Value)
	}
	return out
}

// kubernetesEnv returns the variables that every container gets.
func kubernetesEnv() []string {
	return []string{
		"KUBERNETES_SERVICE_HOST=10.96.0.20",
		"KUBERNETES_SERVICE_PORT=443",
		"KUBERNETES_SERVICE_PORT_HTTPS=443",
		"KUBERNETES_PORT=tcp://10.96.0.20:443",
		"KUBERNETES_PORT_443_TCP=tcp://10.96.0.20:443",
		"KUBERNETES_PORT_443_TCP_PROTO=tcp",
		"KUBERNETES_PORT_443_TCP_PORT=443",
		"KUBERNETES_PORT_443_TCP_ADDR=10.96.0.20",
	}
}

func TestServiceLinks(t *testing.T) {
	t.Parallel()
	services := []corev1.Service{
		service("my-db", "fd00::1", corev1.ServicePort{Name: "sql-main", Port: 5432}, corev1.ServicePort{Name: "gossip", Port: 7946, Protocol: corev1.ProtocolUDP}),
		service("headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 80}),
		service("external", ""),
		service("kubernetes", "10.96.0.99", corev1.ServicePort{Port: 443}),
	}
	want := map[string]string{
		"MY_DB_SERVICE_HOST":          "fd00::1",
		"MY_DB_SERVICE_PORT":          "5432",
		"MY_DB_SERVICE_PORT_SQL_MAIN": "5432",
		"MY_DB_SERVICE_PORT_GOSSIP":   "7946",
		"MY_DB_PORT":                  "tcp://[fd00::1]:5432",
		"MY_DB_PORT_5432_TCP":         "tcp://[fd00::1]:5432",
		"MY_DB_PORT_5432_TCP_PROTO":   "tcp",
		"MY_DB_PORT_5432_TCP_PORT":    "5432",
		"MY_DB_PORT_5432_TCP_ADDR":    "fd00::1",
		"MY_DB_PORT_7946_UDP":         "udp://[fd00::1]:7946",
		"MY_DB_PORT_7946_UDP_PROTO":   "udp",
		"MY_DB_PORT_7946_UDP_PORT":    "7946",
		"MY_DB_PORT_7946_UDP_ADDR":    "fd00::1",
	}
	host := &corev1.ConfigMap{Data: map[string]string{"GONE_SERVICE_HOST": "10.96.0.9"}}
	ServiceLinks(services, host)
	if diff := cmp.Diff(want, host.Data); diff != "" {
		t.Errorf("Services that have an address, and nothing else (-want +got):\n%s", diff)
	}
}

func TestHasLinks(t *testing.T) {
	t.Parallel()
	at := func(second int64) metav1.Time { return metav1.Unix(second, 0) }
	db := service("my-db", "10.96.0.30", corev1.ServicePort{Port: 5432})
	db.CreationTimestamp = at(10)
	complete := map[string]string{"MY_DB_SERVICE_HOST": "10.96.0.30"}
	for name, test := range map[string]struct {
		reason  string
		created int64
		data    map[string]string
		cut     bool
		want    bool
	}{
		"Complete": {reason: "the pod may start", created: 11, data: complete, want: true},
		"Late":     {reason: "the Service is older than the pod", created: 11},
		"Again":    {reason: "the Service was made again with another address", created: 11, data: map[string]string{"MY_DB_SERVICE_HOST": "10.96.0.9"}},
		"Equal":    {reason: "times are in seconds", created: 10},
		"Younger":  {reason: "a later Service may be missing", created: 9, want: true},
		"Cut":      {reason: "what is left out never comes", created: 11, cut: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			links := &corev1.ConfigMap{Data: test.data}
			if test.cut {
				links.Annotations = map[string]string{labels.ServiceLinks: serviceLinksCut}
			}
			virtual := webPod(func(p *corev1.Pod) { p.CreationTimestamp = at(test.created) })
			if got := HasLinks([]corev1.Service{db}, virtual, links); got != test.want {
				t.Errorf("%s: %t", test.reason, got)
			}
		})
	}
}

func TestContainerEnv(t *testing.T) {
	t.Parallel()
	own := corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}}
	renamed := corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: Hashed(shop, keyOf("default", "keys")).Name}}}
	links := corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: LinksKey(shop, "default").Name}, Optional: new(true),
	}}
	tests := map[string]struct {
		reason string
		change func(*corev1.Pod)
		want   []string
		from   []corev1.EnvFromSource
	}{
		"Links": {
			reason: "a kubelet reads the Services whenever a container starts",
			change: func(p *corev1.Pod) { p.Spec.EnableServiceLinks = new(true) },
			want:   kubernetesEnv(), from: []corev1.EnvFromSource{links},
		},
		"LinksByDefault": {
			reason: "an API server sets true where nothing is said",
			change: func(p *corev1.Pod) { p.Spec.EnableServiceLinks = nil },
			want:   kubernetesEnv(), from: []corev1.EnvFromSource{links},
		},
		"NoLinks": {
			reason: "the API is there all the same",
			change: func(p *corev1.Pod) { p.Spec.EnableServiceLinks = new(false) },
			want:   kubernetesEnv(),
		},
		"OwnSources": {
			reason: "the tenant's sources come last and win",
			change: func(p *corev1.Pod) { p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{own} },
			want:   kubernetesEnv(), from: []corev1.EnvFromSource{links, renamed},
		},
		"OwnVariables": {
			reason: "the tenant's variables come last and win",
			change: func(p *corev1.Pod) {
				p.Spec.EnableServiceLinks = new(false)
				p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "URL", Value: "https://$(KUBERNETES_SERVICE_HOST)"}, {Name: "KUBERNETES_SERVICE_PORT", Value: "6443"}}
			},
			want: append(slices.Delete(kubernetesEnv(), 1, 2), "URL=https://$(KUBERNETES_SERVICE_HOST)", "KUBERNETES_SERVICE_PORT=6443"),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := created(t, input(), webPod(func(p *corev1.Pod) { p.Spec.Containers[0].EnvFrom, p.Spec.Containers[0].Env = nil, nil }, tt.change))
			if diff := cmp.Diff(tt.want, texts(host.Spec.Containers[0].Env)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			if diff := cmp.Diff(tt.from, host.Spec.Containers[0].EnvFrom); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			if enabled := host.Spec.EnableServiceLinks; enabled == nil || *enabled {
				t.Errorf("the host's kubelet would add the host's Services")
			}
		})
	}
}

func TestEveryContainerIsToldOfTheAPI(t *testing.T) {
	t.Parallel()
	host := created(t, input(), everything())
	eachContainer(&host.Spec, func(container *corev1.Container) {
		if got := texts(container.Env); len(got) < 8 || got[0] != kubernetesEnv()[0] {
			t.Errorf("container %s: %v", container.Name, got)
		}
	})
}

func TestDNS(t *testing.T) {
	t.Parallel()
	searches := []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}
	ndots := corev1.PodDNSConfigOption{Name: "ndots", Value: new("5")}
	config := func(servers, searches []string, options ...corev1.PodDNSConfigOption) *corev1.PodDNSConfig {
		return &corev1.PodDNSConfig{Nameservers: servers, Searches: searches, Options: options}
	}
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("s%d.example", i))
	}
	var long []string // 2042 characters, so that they fit without those of the cluster
	for i := range 9 {
		long = append(long, fmt.Sprintf("s%d.%s.example", i, strings.Repeat(strings.Repeat("a", 51)+".", 4)+strings.Repeat("b", 7)))
	}
	tests := map[string]struct {
		reason string
		change func(*corev1.PodSpec)
		policy corev1.DNSPolicy
		want   *corev1.PodDNSConfig
	}{
		"ClusterFirst": {
			reason: "the cluster's DNS is the virtual one",
			policy: corev1.DNSNone, want: config([]string{"10.96.0.21"}, searches, ndots),
		},
		"Merged": {
			reason: "the tenant's servers and domains follow, options win by name and none is lost",
			change: func(s *corev1.PodSpec) {
				s.DNSConfig = config([]string{"1.1.1.1", "10.96.0.21"}, []string{"example.com", "cluster.local"},
					corev1.PodDNSConfigOption{Name: "ndots", Value: new("1")}, corev1.PodDNSConfigOption{Name: "use-vc"})
			},
			policy: corev1.DNSNone,
			want: config([]string{"10.96.0.21", "1.1.1.1"}, append(slices.Clone(searches), "example.com"),
				corev1.PodDNSConfigOption{Name: "ndots", Value: new("1")}, corev1.PodDNSConfigOption{Name: "use-vc"}),
		},
		"Limits": {
			reason: "more than the API server takes is cut, as a kubelet does",
			change: func(s *corev1.PodSpec) {
				s.DNSConfig = config([]string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, many)
			},
			policy: corev1.DNSNone,
			want:   config([]string{"10.96.0.21", "1.1.1.1", "2.2.2.2"}, append(slices.Clone(searches), many[:29]...), ndots),
		},
		"Length": {
			reason: "what is too long together is cut, as a kubelet does",
			change: func(s *corev1.PodSpec) { s.DNSConfig = config(nil, long) },
			policy: corev1.DNSNone, want: config([]string{"10.96.0.21"}, append(slices.Clone(searches), long[:8]...), ndots),
		},
		"HostNetwork": {
			reason: "a kubelet gives such a pod the node's DNS",
			change: func(s *corev1.PodSpec) { s.HostNetwork = true },
			policy: corev1.DNSClusterFirst,
		},
		"ClusterFirstWithHostNet": {
			reason: "unless it asks for the cluster's",
			change: func(s *corev1.PodSpec) { s.HostNetwork, s.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet },
			policy: corev1.DNSNone, want: config([]string{"10.96.0.21"}, searches, ndots),
		},
		"Default": {
			reason: "the node's DNS is what the tenant asked for",
			change: func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault },
			policy: corev1.DNSDefault,
		},
		"None": {
			reason: "the tenant's own configuration is complete",
			change: func(s *corev1.PodSpec) {
				s.DNSPolicy, s.DNSConfig = corev1.DNSNone, config([]string{"1.1.1.1"}, nil)
			},
			policy: corev1.DNSNone, want: config([]string{"1.1.1.1"}, nil),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := created(t, input(), webPod(func(p *corev1.Pod) {
				if tt.change != nil {
					tt.change(&p.Spec)
				}
			}))
			if host.Spec.DNSPolicy != tt.policy {
				t.Errorf("%s: policy %s, want %s", tt.reason, host.Spec.DNSPolicy, tt.policy)
			}
			if diff := cmp.Diff(tt.want, host.Spec.DNSConfig); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
		})
	}
}

// TestNodeSearches checks where the search domains of nodes are among those of a pod.
func TestNodeSearches(t *testing.T) {
	t.Parallel()
	in := input()
	in.NodeSearches = []string{"corp.example", "cluster.local"}
	host := created(t, in, webPod(func(p *corev1.Pod) {
		p.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"own.example"}}
	}))
	want := []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example", "own.example"}
	if diff := cmp.Diff(want, host.Spec.DNSConfig.Searches); diff != "" {
		t.Errorf("want the order of a kubelet (-want +got):\n%s", diff)
	}
}
