package translate

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func service(namespace, name, ip string, ports ...corev1.ServicePort) corev1.Service {
	return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
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

func TestServiceEnv(t *testing.T) {
	t.Parallel()
	in := input()
	in.Services = []corev1.Service{
		service("default", "kubernetes", "10.96.0.99", corev1.ServicePort{Port: 443}),
		service("default", "my-db", "fd00::1", corev1.ServicePort{Name: "sql-main", Port: 5432}, corev1.ServicePort{Name: "gossip", Port: 7946, Protocol: corev1.ProtocolUDP}),
		service("default", "headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 80}),
		service("default", "external", ""),
		service("other", "api", "10.96.0.31", corev1.ServicePort{Port: 80}),
	}
	db := []string{
		"MY_DB_SERVICE_HOST=fd00::1",
		"MY_DB_SERVICE_PORT=5432",
		"MY_DB_SERVICE_PORT_SQL_MAIN=5432",
		"MY_DB_SERVICE_PORT_GOSSIP=7946",
		"MY_DB_PORT=tcp://[fd00::1]:5432",
		"MY_DB_PORT_5432_TCP=tcp://[fd00::1]:5432",
		"MY_DB_PORT_5432_TCP_PROTO=tcp",
		"MY_DB_PORT_5432_TCP_PORT=5432",
		"MY_DB_PORT_5432_TCP_ADDR=fd00::1",
		"MY_DB_PORT_7946_UDP=udp://[fd00::1]:7946",
		"MY_DB_PORT_7946_UDP_PROTO=udp",
		"MY_DB_PORT_7946_UDP_PORT=7946",
		"MY_DB_PORT_7946_UDP_ADDR=fd00::1",
	}
	tests := map[string]struct {
		reason string
		change func(*corev1.Pod)
		want   []string
	}{
		"Links": {
			reason: "Services of the pod's namespace that have an address",
			change: func(*corev1.Pod) {},
			want:   slices.Concat(kubernetesEnv(), db),
		},
		"LinksByDefault": {
			reason: "an API server sets true where nothing is said",
			change: func(p *corev1.Pod) { p.Spec.EnableServiceLinks = nil },
			want:   slices.Concat(kubernetesEnv(), db),
		},
		"NoLinks": {
			reason: "the API is there all the same",
			change: func(p *corev1.Pod) { p.Spec.EnableServiceLinks = new(false) },
			want:   kubernetesEnv(),
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
			host := created(t, in, webPod(tt.change))
			if diff := cmp.Diff(tt.want, texts(host.Spec.Containers[0].Env)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			if links := host.Spec.EnableServiceLinks; links == nil || *links {
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
