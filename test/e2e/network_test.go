//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// exposedManifest is the Service of webManifest on a port of every node.
const exposedManifest = `
apiVersion: v1
kind: Service
metadata: {name: exposed}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
`

// metadata is where clouds have a service that gives credentials to a node. Here the kubelet answers.
const metadata = "169.254.169.254:10250"

// network is a host with two tenants and a pod of the host that no policy holds.
type network struct {
	t          *testing.T
	own, other *tenant
	free       string // namespace of the pod of the host
	api, node  string // addresses of the host
	nodePort   string // of a Service of the first tenant
	otherPod   string
	otherAPI   string // addresses of Services of the second tenant's release
	otherDNS   string
}

// TestNetworkPolicies shows with packets who reaches whom under the default settings.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.check(t, []connection{
		{"a pod of the tenant", n.inOwn, "timeout 5 wget -qO- http://web", true},
		{"the virtual API", n.inOwn, reach("kubernetes.default:443"), true},
		{"the virtual DNS", n.inOwn, "nslookup web.default.svc.cluster.local", true},
		{"the tenant's own port of the node", n.inOwn, "timeout 5 wget -qO- http://" + n.node + ":" + n.nodePort, true},
		{"a pod of another tenant", n.inOwn, reach(n.otherPod + ":8080"), false},
		{"the API of another tenant", n.inOwn, reach(n.otherAPI + ":443"), false},
		{"the DNS of another tenant", n.inOwn, "timeout 5 nslookup web.default.svc.cluster.local. " + n.otherDNS, false},
		{"the API of the host at its Service", n.inOwn, reach(n.api + ":443"), false},
		{"the API of the host at its node", n.inOwn, reach(n.node + ":6443"), false},
		{"the kubelet", n.inOwn, reach(n.node + ":10250"), false},
		{"the metadata service of a cloud", n.inOwn, reach(metadata), false},
		{"the DNS of the host", n.inOwn, reach(n.node + ":53"), false},

		{"the host reaches its API, so the test can tell", n.inFree, reach(n.api + ":443"), true},
		{"the host reaches its kubelet, so the test can tell", n.inFree, reach(n.node + ":10250"), true},
		{"the host reaches its metadata service, so the test can tell", n.inFree, reach(metadata), true},
		{"a Service on a port of the node, for the host", n.inFree, "timeout 5 wget -qO- http://" + n.node + ":" + n.nodePort, true},
		{"a pod that nothing exposes, for the host", n.inFree, reach(n.otherPod + ":8080"), false},
		{"the API of a tenant, for the host", n.inFree, reach(n.otherAPI + ":443"), false},
		{"the DNS of a tenant, for the host", n.inFree, "timeout 5 nslookup web.default.svc.cluster.local. " + n.otherDNS, false},
	})
	t.Run("policies_of_the_tenant", n.testTenantPolicies)
}

// connection is one that a line of shell tries to make.
type connection struct {
	reason string
	from   func(line string) *exec.Cmd
	line   string
	open   bool
}

// check checks which connections are open.
func (n *network) check(t *testing.T, connections []connection) {
	t.Helper()
	for _, c := range connections {
		t.Run(strings.ReplaceAll(c.reason, " ", "_"), func(t *testing.T) {
			if !c.open {
				eventually(t, c.line+" runs", func(context.Context) error {
					out, err := c.from(c.line).CombinedOutput()
					if err == nil {
						t.Fatalf("%s is open:\n%s", c.line, out)
					}
					return hasRun(out, err)
				})
				return
			}
			eventually(t, c.line, func(context.Context) error {
				if out, err := c.from(c.line).CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		})
	}
}

// closed waits until a connection is closed that was open.
func (n *network) closed(t *testing.T, from func(string) *exec.Cmd, line string) {
	t.Helper()
	eventually(t, line+" fails", func(context.Context) error {
		out, err := from(line).CombinedOutput()
		if err == nil {
			return fmt.Errorf("it is open: %s", out)
		}
		return hasRun(out, err)
	})
}

// hasRun returns an error unless a line of shell ran in its pod and failed there.
func hasRun(out []byte, err error) error {
	if strings.Contains(string(out), "command terminated with exit code") {
		return nil
	}
	return fmt.Errorf("%w: %s", err, out)
}

// testTenantPolicies shows that NetworkPolicies of the tenant isolate the tenant's pods, and
// open nothing that the release's own policies close.
func (n *network) testTenantPolicies(t *testing.T) {
	const web, dns = "timeout 5 wget -qO- http://web", "timeout 8 nslookup web.default.svc.cluster.local"
	exposed := "timeout 5 wget -qO- http://" + n.node + ":" + n.nodePort
	policy := func(name, spec string) {
		n.own.apply("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + "}\nspec: " + spec)
	}
	policy("deny", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}")
	n.closed(t, n.inOwn, web)
	n.closed(t, n.inFree, exposed)
	policy("allow", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: first}}}]}]}")
	n.check(t, []connection{{"a pod that a policy names", n.inOwn, web, true}})
	n.closed(t, n.inFree, exposed) // It does not name the host. A slow connection may have looked closed before.
	policy("outside", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")
	n.check(t, []connection{{"a block of addresses opens what is exposed", n.inFree, exposed, true}})

	policy("quiet", "{podSelector: {matchLabels: {app: first}}, policyTypes: [Egress]}")
	n.closed(t, n.inOwn, dns)
	policy("names", `{podSelector: {matchLabels: {app: first}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]}`)
	n.check(t, []connection{{"DNS by the usual rule", n.inOwn, dns, true}})
	n.closed(t, n.inOwn, reach("kubernetes.default:443")) // No rule names the API, and none a Service.
	n.closed(t, n.inOwn, web)
	policy("all", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}, {to: [{ipBlock: {cidr: 10.0.0.0/8}}, {namespaceSelector: {}}]}]}")
	n.check(t, []connection{
		{"everything opens the tenant's own", n.inOwn, web, true},
		{"everything opens the API", n.inOwn, reach("kubernetes.default:443"), true},
		{"everything opens no other tenant", n.inOwn, reach(n.otherPod + ":8080"), false},
		{"everything opens no kubelet", n.inOwn, reach(n.node + ":10250"), false},
		{"everything opens no API of the host", n.inOwn, reach(n.api + ":443"), false},
	})
	n.own.kubectl("delete", "networkpolicy", "--all")
	n.check(t, []connection{
		{"without policies, the tenant's own", n.inOwn, web, true},
		{"without policies, what is exposed", n.inFree, exposed, true},
		{"without policies, no other tenant", n.inOwn, reach(n.otherPod + ":8080"), false},
	})
}

// reach returns a line of shell that succeeds if something listens at an address.
func reach(address string) string {
	host, port, _ := strings.Cut(address, ":")
	return fmt.Sprintf("nc -w 3 %s %s </dev/null", host, port)
}

func newNetwork(t *testing.T) *network {
	n := &network{t: t, own: install(t, "one", "net-one"), other: install(t, "two", "net-two"), free: "net-free"}
	for _, tn := range []*tenant{n.own, n.other} {
		tn.apply(webManifest)
		tn.apply(sleeper("first"))
	}
	n.own.apply(exposedManifest)
	for _, tn := range []*tenant{n.own, n.other} {
		tn.rollout("deployment/web")
		tn.await("condition=Ready", "pod/first")
	}
	mustRun(t, hostKubectl("create", "namespace", n.free))
	t.Cleanup(func() { _ = hostKubectl("delete", "namespace", n.free, "--timeout", patience.String()).Run() })
	eventually(t, "the default service account", func(ctx context.Context) error {
		_, err := hostClient.CoreV1().ServiceAccounts(n.free).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	pod := hostKubectl("-n", n.free, "apply", "-f", "-")
	pod.Stdin = strings.NewReader(strings.ReplaceAll(sleeper("free"), "@IMAGE@", testImage))
	mustRun(t, pod)
	mustRun(t, hostKubectl("-n", n.free, "wait", "--for=condition=Ready", "pod/free", "--timeout", patience.String()))
	n.readAddresses()
	return n
}

// readAddresses reads the addresses of all that is to be reached.
func (n *network) readAddresses() {
	n.t.Helper()
	service := func(namespace, name string) string {
		found, err := hostClient.CoreV1().Services(namespace).Get(n.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			n.t.Fatal(err)
		}
		return found.Spec.ClusterIP
	}
	n.api, n.otherAPI, n.otherDNS = service("default", "kubernetes"), service(n.other.namespace, "two"), service(n.other.namespace, "two-dns")
	n.nodePort = n.own.kubectl("get", "service", "exposed", "-o", "jsonpath={.spec.ports[0].nodePort}")
	n.otherPod = n.other.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].status.podIP}")
	nodes, err := hostClient.CoreV1().Nodes().List(n.t.Context(), metav1.ListOptions{LabelSelector: "type!=kwok"})
	if err != nil || len(nodes.Items) == 0 {
		n.t.Fatalf("the host has no node: %v", err)
	}
	for _, address := range nodes.Items[0].Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			n.node = address.Address
		}
	}
}

// inOwn returns a command in a pod of the first tenant.
func (n *network) inOwn(line string) *exec.Cmd {
	return n.own.command("exec", "first", "--", "sh", "-c", line)
}

// inFree returns a command in the pod of the host.
func (n *network) inFree(line string) *exec.Cmd {
	return hostKubectl("-n", n.free, "exec", "free", "--", "sh", "-c", line)
}
