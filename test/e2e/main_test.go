//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// root is the top of the checkout.
const root = "../.."

// testImage is the image of the tenants' pods: a shell and the usual small tools.
var testImage = envOr("SUBLET_TEST_IMAGE", "localhost/sublet/test:1")

var (
	helmBinary     string
	hostKubeconfig string
	hostConfig     *rest.Config
	hostClient     kubernetes.Interface
)

func TestMain(m *testing.M) {
	if err := setup(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		os.Exit(1)
	}
	started := time.Now()
	code := m.Run()
	if err := checkTerms(started); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		code = 1
	}
	// Only a whole run uses every permission.
	if whole := flag.Lookup("test.run").Value.String()+flag.Lookup("test.skip").Value.String() == ""; code == 0 && (whole || os.Getenv("SUBLET_CHECK_ROLES") != "") {
		if err := checkRoles(started); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// setup finds the host and the tools that `make e2e` has prepared.
func setup() error {
	helmBinary = envOr("SUBLET_HELM", filepath.Join(root, "bin", "helm"))
	hostKubeconfig = os.Getenv("SUBLET_HOST_KUBECONFIG")
	if hostKubeconfig == "" {
		return fmt.Errorf("SUBLET_HOST_KUBECONFIG must name the kubeconfig of a host with the image loaded; make e2e sets it")
	}
	config, err := clientcmd.BuildConfigFromFlags("", hostKubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	config.Timeout = commandLimit
	hostConfig = config
	hostClient, err = kubernetes.NewForConfig(config)
	return err
}

// testValues returns the values that make the chart use the image of this checkout. The kubelet restarts no control
// plane that is only slow, because other tests run.
func testValues() []string {
	return []string{"controlPlane.statefulSet.image.pullPolicy=Never", "controlPlane.statefulSet.probes.livenessProbe.failureThreshold=12"}
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
