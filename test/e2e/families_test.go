//go:build e2e

package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// families are Services of both address families, of the second one, and without an address.
const families = `
apiVersion: v1
kind: Service
metadata: {name: both}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {ipFamilyPolicy: PreferDualStack, clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
`

// TestDualStack uses Services of two address families. It needs a host that has both, as
// hostctl up --dual-stack starts it.
func TestDualStack(t *testing.T) {
	ranges, err := hostClient.NetworkingV1().ServiceCIDRs().Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(ranges.Spec.CIDRs) < 2 {
		t.Skip("the host has one address family")
	}
	tn := install(t, "families", "tenant-families")
	tn.apply(webManifest)
	tn.apply(families)
	tn.apply(sleeper("client"))
	tn.rollout("deployment/web")
	tn.await("condition=Ready", "pod/client")

	if ips := strings.Fields(tn.kubectl("get", "pod", "client", "-o", "jsonpath={.status.podIPs[*].ip}")); len(ips) != 2 {
		t.Errorf("the pod has the addresses %v, want one of each family", ips)
	}
	for name, want := range map[string][]bool{"web": {false}, "both": {false, true}, "six": {true}} {
		var got []bool // whether each address is of IPv6
		for address := range strings.FieldsSeq(tn.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIPs[*]}")) {
			got = append(got, strings.Contains(address, ":"))
			if page := tn.inPod("client", "wget -qO- http://"+net.JoinHostPort(address, "80")); !strings.HasPrefix(page, "web-") {
				t.Errorf("Service %s at %s answers %q", name, address, page)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("families of Service %s (-want +got):\n%s", name, diff)
		}
	}
	six := strings.TrimSpace(tn.kubectl("get", "service", "six", "-o", "jsonpath={.spec.clusterIP}"))
	if out := tn.inPod("client", "nslookup -type=AAAA six.default.svc.cluster.local"); !strings.Contains(out, six) {
		t.Errorf("the DNS has no address %s: %s", six, out)
	}
	for _, kind := range []string{"A", "AAAA"} {
		tn.inPod("client", "nslookup -type="+kind+" headless.default.svc.cluster.local")
	}
}
