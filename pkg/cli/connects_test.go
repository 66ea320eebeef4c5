package cli_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// connectable returns a kubeconfig with the host east, whose virtual cluster shop answers at an address.
func connectable(t *testing.T) (file string, virtual *httptest.Server) {
	t.Helper()
	virtual = httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(virtual.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["v"] = &clientcmdapi.Cluster{
		Server:                   "https://shop.tenant-shop",
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: virtual.Certificate().Raw}),
	}
	config.AuthInfos["v"] = &clientcmdapi.AuthInfo{Token: "a-token"}
	config.Contexts["v"], config.CurrentContext = &clientcmdapi.Context{Cluster: "v", AuthInfo: "v"}, "v"
	exported, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/secrets/shop-kubeconfig") {
			return false
		}
		write(w, http.StatusOK, &corev1.Secret{Data: map[string][]byte{release.KubeconfigKey: exported}})
		return true
	}
	file = kubeconfigOf(t, "east", map[string]*fakeHost{
		"east": newFakeHost(t, answer, release.Release{Name: "shop", Namespace: "tenant-shop"}),
	})
	return file, virtual
}

// TestParallelConnects runs 50 connects at the same time, with one kubeconfig. All succeed, and each
// context is there with its own entries, next to those from before.
func TestParallelConnects(t *testing.T) {
	t.Parallel()
	const connects = 50
	file, virtual := connectable(t)
	before, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range connects {
		group.Go(func() {
			name := fmt.Sprintf("c%d", i)
			_, errOut, code := runSublet(t, file, "connect", "shop", "--context=east", "--context-name="+name, "--keep-context",
				"--virtual-server="+virtual.URL+"/"+name)
			if code != 0 || !strings.Contains(errOut, "Context "+name+" leads to tenant-shop/shop") {
				t.Errorf("%s: exit code %d: %s", name, code, errOut)
			}
		})
	}
	group.Wait()
	after, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range connects {
		name := fmt.Sprintf("c%d", i)
		entry := after.Contexts[name]
		if entry == nil || after.Clusters[entry.Cluster] == nil || after.AuthInfos[entry.AuthInfo] == nil {
			t.Errorf("the context %s is not complete", name)
			continue
		}
		if token := after.AuthInfos[entry.AuthInfo].Token; token != "a-token" {
			t.Errorf("%s has the token %q", name, token)
		}
		if server := after.Clusters[entry.Cluster].Server; server != virtual.URL+"/"+name {
			t.Errorf("%s leads to %s", name, server)
		}
	}
	if want := len(before.Contexts) + connects; len(after.Contexts) != want || after.CurrentContext != "east" {
		t.Errorf("there are %d contexts, want %d; the current one is %s", len(after.Contexts), want, after.CurrentContext)
	}
}

// TestListLimit checks how long a host may take by default. A list takes as long as one host, since
// all are asked at the same time. See TestListAllContexts.
func TestListLimit(t *testing.T) {
	t.Parallel()
	root := cli.Command(&host.Env{Flags: genericclioptions.NewConfigFlags(true)}, "sublet")
	for _, verb := range []string{"list", "top"} {
		command, _, err := root.Find([]string{verb})
		if err != nil {
			t.Fatal(err)
		}
		limit, err := time.ParseDuration(command.Flag("host-timeout").DefValue)
		if err != nil || limit >= 3*time.Second {
			t.Errorf("%s: a host may take %s, and all of it must take less than 3s: %v", verb, limit, err)
		}
	}
}
