//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/sublet-dev/sublet/hostlab"
)

// hostGateway is a Gateway of the host with a class.
const hostGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: e2e-public}
spec: {controllerName: traefik.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: @NAME@}
spec:
  gatewayClassName: e2e-public
  listeners: [{name: web, protocol: HTTP, port: 8000, allowedRoutes: {namespaces: {from: All}}}]
`

const routeOfTenant = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: public, namespace: gateways}]
  hostnames: [www.@SHOP@.example.com]
  rules: [{backendRefs: [{name: web, port: 80}]}]
`

const routedPod = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  hostname: @SHOP@
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, args: [serve]}]
`

// otherRoutes are of the kinds of the preset that Traefik does not serve here.
const otherRoutes = `
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: secure}
spec:
  parentRefs: [{name: public, namespace: gateways}]
  hostnames: [tls.@SHOP@.example.com]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: granted}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: web}]
`

// testGateways runs Traefik on the host with a Gateway that two tenants see. Routes of each lead
// to its own pod, and the status names the Gateway as the tenant knows it. Host names of the
// other one, and Gateways that are not shown, are denied.
func testGateways(t *testing.T) {
	folders := loadSoftware(t, hostlab.Traefik(), hostlab.GatewayAPI())
	applyOnHost(t, readManifests(t, folders[1], "config/crd/experimental/gateway.networking.k8s.io_*.yaml"))
	permissions := readManifests(t, folders[0], "docs/content/reference/dynamic-configuration/kubernetes-gateway-rbac.yml")
	applyOnHost(t, strings.NewReplacer("name: traefik-controller", "name: controller", "namespace: default", "namespace: "+controllerNamespace).Replace(permissions))
	certificate, _ := selfSigned(t, "shop.example.com")
	controller := startIngressController(t, certificate,
		"--providers.kubernetesgateway=true", "--entrypoints.web.address=:8000", "--providers.kubernetesgateway.statusaddress.ip="+controllerAddress)
	applyOnHost(t, strings.ReplaceAll(hostGateway, "@NAME@", controllerNamespace))

	tenants := map[string]*tenant{}
	for _, shop := range []string{"books", "bikes"} {
		tn := install(t, "gateways-"+shop, "tenant-gateways-"+shop, admitsFrom(controllerNamespace),
			"integrations.gatewayAPI.enabled=true", "policies.ingresses.hosts={*."+shop+".example.com}",
			`sync.fromHost.customResources.gateways\.gateway\.networking\.k8s\.io.mappings.byName.`+controllerNamespace+"/public=gateways/public")
		tenants[shop] = tn
		tn.awaits("gateways.gateway.networking.k8s.io", "public")
		tn.awaits("gatewayclasses", "e2e-public")
		tn.apply(strings.ReplaceAll(routedPod, "@SHOP@", shop))
		tn.applies(strings.ReplaceAll(routeOfTenant, "@SHOP@", shop))
	}
	for shop, tn := range tenants {
		controller.answers(t, "http://www."+shop+".example.com", shop)
		tn.await(`jsonpath={.status.parents[0].conditions[?(@.type=="Accepted")].status}=True`, "httproute/web")
		if got := tn.kubectl("get", "httproute", "web", "-o", "jsonpath={.status.parents[0].parentRef}"); !strings.Contains(got, `"gateways"`) ||
			strings.Contains(got, controllerNamespace) {
			t.Errorf("the status names the Gateway %s, want that of the tenant", got)
		}
	}
	books := tenants["books"]
	books.isDenied("policies.ingresses.hosts", strings.ReplaceAll(routeOfTenant, "@SHOP@", "bikes"))
	books.isDenied("no object that the host shows", strings.NewReplacer("@SHOP@", "books", "namespace: gateways", "namespace: "+controllerNamespace).Replace(routeOfTenant))
	controller.answers(t, "http://www.bikes.example.com", "bikes")

	books.applies(strings.ReplaceAll(otherRoutes, "@SHOP@", "books"))
	books.changes("tlsroutes", "secure", `{"spec":{"hostnames":["new.books.example.com"]}}`, ".spec.hostnames[0]", "new.books.example.com")
	books.changes("referencegrants", "granted", `{"spec":{"from":[{"group":"gateway.networking.k8s.io","kind":"TLSRoute","namespace":"default"}]}}`,
		".spec.from[0].kind", "TLSRoute")
	books.changes("httproutes", "web", `{"spec":{"hostnames":["new.books.example.com"]}}`, ".spec.hostnames[0]", "new.books.example.com")
}
