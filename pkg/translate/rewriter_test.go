package translate

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestRewriteError checks errors of every kind that a host returns. None may have a name of
// the host, and each keeps its reason.
func TestRewriteError(t *testing.T) {
	t.Parallel()
	c := Cluster{UID: "u", Name: "shop-release", Namespace: "tenant"}
	host := Hashed(c, keyOf("web", "cart"))
	for _, tt := range []struct{ reason, message, want string }{
		{
			"the account of the control plane", `services "` + host.Name + `" is forbidden: User "system:serviceaccount:tenant:shop-release" cannot create resource "services" in API group "" in the namespace "tenant"`,
			`services "cart" is forbidden: the account of the virtual cluster cannot create resource "services" in API group "" in the namespace "web"`,
		},
		{
			"a quota", `pods "` + host.Name + `" is forbidden: exceeded quota: gold-plan, requested: pods=1, used: pods=3, limited: pods=3`,
			`pods "cart" is forbidden: exceeded quota of the host: requested: pods=1, used: pods=3, limited: pods=3. Delete some, or ask the operator of the host to raise policies.resourceQuota.quota`,
		},
		{"a quota that needs values", `failed quota: gold-plan: must specify limits.cpu`, `failed quota of the host: must specify limits.cpu`},
		{"a webhook", `admission webhook "policy.corp.example" denied the request: no latest tags`, `an admission webhook of the host denied the request: no latest tags`},
		{
			"a webhook that is away", `Internal error occurred: failed calling webhook "policy.corp.example": failed to call webhook: Post "https://policy.corp.svc:443/validate?timeout=10s": dial tcp 10.0.0.7:443: connect: connection refused`,
			`Internal error occurred: failed calling a webhook of the host: failed to call webhook: Post the host: the host: connect: connection refused`,
		},
		{
			"a policy", `ValidatingAdmissionPolicy 'corp-rules' with binding 'corp-all' denied request: no host ports`,
			`a policy of the host denied request: no host ports`,
		},
		{
			"a host that is away", `Get "https://10.96.0.1:443/api/v1/namespaces/tenant/pods/` + host.Name + `": dial tcp 10.96.0.1:443: i/o timeout`,
			`Get the host: the host: i/o timeout`,
		},
		{"a broken connection", `read tcp 10.244.0.9:51234->10.96.0.1:443: read: connection reset by peer`, `the host: read: connection reset by peer`},
		{"a name that cannot be resolved", `dial tcp: lookup api.corp.example on 10.96.0.10:53: server misbehaving`, `the host: server misbehaving`},
		{"a certificate", `tls: failed to verify certificate: x509: certificate is valid for api.corp.example, kubernetes.default, not 10.96.0.1`, `tls: failed to verify certificate: x509: certificate is for other names`},
		{"a person", `nodes "node-1" is forbidden: User "jane@corp.example" cannot patch resource "nodes"`, `nodes "node-1" is forbidden: the account of the virtual cluster cannot patch resource "nodes"`},
		{"the account of a node", `User "system:node:corp-1" cannot get resource "secrets"`, `the account of the virtual cluster cannot get resource "secrets"`},
		{"a namespace before a comma", `quota is used up in namespace tenant, ask the operator`, `quota is used up in namespace web, ask the operator`},
		{"a namespace at the end", `cannot start in namespace tenant`, `cannot start in namespace web`},
		{"the host's API is overloaded", `the server has received too many requests and has asked us to try again later (get pods ` + host.Name + `)`, `the server has received too many requests and has asked us to try again later (get pods cart)`},
		{"the host's store is full", `etcdserver: mvcc: database space exceeded`, `etcdserver: mvcc: database space exceeded`},
		{"a conflict", `Operation cannot be fulfilled on services "` + host.Name + `": the object has been modified`, `Operation cannot be fulfilled on services "cart": the object has been modified`},
		{"a port that is taken", `Service "` + host.Name + `" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated`, `Service "cart" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated`},
		{"Pod Security of the host", `pods "` + host.Name + `" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c")`, `pods "cart" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c")`},
		{"IPv6", `dial tcp [fd00::1]:443: connect: no route to host`, `the host: connect: no route to host`},
		{"a missing object", `configmaps "` + host.Name + `" not found`, `configmaps "cart" not found`},
		{"a key", `cannot update ` + host.String() + `: the object has been modified`, `cannot update web/cart: the object has been modified`},
		{"a namespace that ends", `unable to create new content in namespace tenant because it is being terminated`, `unable to create new content in namespace web because it is being terminated`},
		{"an ordinary word", `a tenant may ask for more`, `a tenant may ask for more`},
		{"an invalid field", `Service "` + host.Name + `" is invalid: spec.ports[0].port: Invalid value: 0`, `Service "cart" is invalid: spec.ports[0].port: Invalid value: 0`},
		{"no text", ``, ``},
	} {
		r := Rewriter{Cluster: c}
		r.AddObject(host, keyOf("web", "cart"))
		got := r.RewriteError(tt.message)
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.reason, got, tt.want)
		}
		for _, secret := range []string{host.Name, `"tenant"`, "tenant/", "gold-plan", "corp", "10.", "fd00", "shop-release"} {
			if strings.Contains(got, secret) {
				t.Errorf("%s: the tenant reads %q in %s", tt.reason, secret, got)
			}
		}
	}
}

// TestRewrite checks texts of events and statuses. They keep addresses, which are the
// tenant's own. They have no more names of the host than errors have.
func TestRewrite(t *testing.T) {
	t.Parallel()
	c := Cluster{UID: "u", Name: "shop-release", Namespace: "tenant"}
	host := Hashed(c, keyOf("web", "cart"))
	for message, want := range map[string]string{
		`failed to provision volume with StorageClass "fast": secrets "csi" is forbidden: User "system:serviceaccount:csi:driver" cannot get resource "secrets" in API group "" in the namespace "csi"`: `failed to provision volume with StorageClass "fast": secrets "csi" is forbidden: the account of the virtual cluster cannot get resource "secrets" in API group "" in the namespace "web"`,
		`admission webhook "lb.corp.example" denied the request`:                                                     `an admission webhook of the host denied the request`,
		`Liveness probe failed: Get "http://10.1.2.3:80/healthz": dial tcp 10.1.2.3:80: connect: connection refused`: `Liveness probe failed: Get "http://10.1.2.3:80/healthz": dial tcp 10.1.2.3:80: connect: connection refused`,
		`Failed to pull image "registry.example.com/app": dial tcp 192.0.2.1:443: i/o timeout`:                       `Failed to pull image "registry.example.com/app": dial tcp 192.0.2.1:443: i/o timeout`,
		`waiting for a volume to be created, for claim ` + host.String():                                             `waiting for a volume to be created, for claim web/cart`,
	} {
		r := Rewriter{Cluster: c}
		r.AddObject(host, keyOf("web", "cart"))
		if got := r.Rewrite(message); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

// TestRewritePod checks texts about a pod and everything that it refers to.
func TestRewritePod(t *testing.T) {
	t.Parallel()
	c := Cluster{UID: "u", Namespace: "tenant"}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls"}}}}}}
	pod.Namespace, pod.Name, pod.UID = "web", "cart", "virtual-uid"
	own, secret, token := Hashed(c, keyOf("web", "cart")), Hashed(c, keyOf("web", "tls")), Derived(TokenRole)(c, keyOf("web", "cart"))
	r := Rewriter{Cluster: c}
	r.AddPod(pod, "host-uid")
	for message, want := range map[string]string{
		"sandbox of " + own.Name + "_tenant(host-uid)":                                  "sandbox of cart_web(virtual-uid)",
		`MountVolume.SetUp failed: secret "` + secret.Name + `" not found`:              `MountVolume.SetUp failed: secret "tls" not found`,
		`couldn't propagate object cache: object "tenant"/"` + token.Name + `"`:         `couldn't propagate object cache: object "web"/"cart-token"`,
		`Readiness probe failed: Get "http://10.0.0.5:80/": connection refused`:         `Readiness probe failed: Get "http://10.0.0.5:80/": connection refused`,
		"Successfully assigned " + own.String() + " to node-1":                          "Successfully assigned web/cart to node-1",
		"Created pod: " + own.Name + ", mounts " + secret.Namespace + "/" + secret.Name: "Created pod: cart, mounts web/tls",
	} {
		if got := r.Rewrite(message); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestRewriteFilesOfPods checks that no host name of an object that Sublet makes for a pod
// reaches the tenant.
func TestRewriteFilesOfPods(t *testing.T) {
	t.Parallel()
	virtual := webPod()
	for _, tt := range []struct{ reason, host, want string }{
		{"tokens", podFile(shop, virtual, TokenRole), "web-0-token"},
		{"trust bundles", podFile(shop, virtual, TrustRole), "web-0-trust"},
		{"certificates", podFile(shop, virtual, CertificateRole), "web-0-certificate"},
		{"variables of Services", LinksKey(shop, virtual.Namespace).Name, "service-links"},
	} {
		r := Rewriter{Cluster: shop}
		r.AddPod(virtual, "")
		message := `MountVolume.SetUp failed for volume "v" : object "` + tt.host + `" not found`
		if got, want := r.Rewrite(message), strings.Replace(message, tt.host, tt.want, 1); got != want {
			t.Errorf("%s: got %s, want %s", tt.reason, got, want)
		}
	}
}
