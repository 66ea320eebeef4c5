package cli_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

// exporter answers requests for the Secret with the kubeconfig. After a deletion, it writes the Secret
// again once it was asked for.
type exporter struct {
	t    *testing.T
	lock sync.Mutex
	// certificate is what the Secret has. It is empty while there is none.
	certificate string
	// tokens is true if the kubeconfig has tokens of a service account instead.
	tokens bool
	// stuck is true if the control plane does not write it again.
	stuck bool
}

// answer implements the answer of a fakeHost.
func (e *exporter) answer(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/secrets/shop-kubeconfig") {
		return false
	}
	e.lock.Lock()
	defer e.lock.Unlock()
	switch {
	case r.Method == http.MethodDelete:
		e.certificate = ""
		write(w, http.StatusOK, &metav1.Status{Status: metav1.StatusSuccess})
	case e.certificate == "":
		writeError(w, http.StatusNotFound, metav1.StatusReasonNotFound, "not found")
		if !e.stuck {
			e.certificate = "new"
		}
	default:
		secret := &corev1.Secret{Data: map[string][]byte{release.KubeconfigKey: exportedConfig(e.t, e.user())}}
		write(w, http.StatusOK, secret)
	}
	return true
}

// user returns the user of the kubeconfig.
func (e *exporter) user() *clientcmdapi.AuthInfo {
	if e.tokens {
		return userWithToken(e.certificate)
	}
	return userWith(e.certificate)
}

// userWithToken returns a user with the token of a service account.
func userWithToken(id string) *clientcmdapi.AuthInfo {
	claims := `{"sub":"system:serviceaccount:kube-system:deployer","exp":4102444800,"jti":"` + id + `"}`
	return &clientcmdapi.AuthInfo{Token: "head." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature"}
}

// exportedConfig returns the kubeconfig that a control plane exports.
func exportedConfig(t *testing.T, user *clientcmdapi.AuthInfo) []byte {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["v"], config.AuthInfos["v"] = &clientcmdapi.Cluster{Server: "https://shop.tenant-shop"}, user
	config.Contexts["v"], config.CurrentContext = &clientcmdapi.Context{Cluster: "v", AuthInfo: "v"}, "v"
	data, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// userWith returns a user with a client certificate.
func userWith(certificate string) *clientcmdapi.AuthInfo {
	return &clientcmdapi.AuthInfo{ClientCertificateData: []byte(certificate), ClientKeyData: []byte("key of " + certificate)}
}

// addConnections adds contexts that "sublet connect" wrote: name of the context -> user.
func addConnections(t *testing.T, file, cluster string, users map[string]*clientcmdapi.AuthInfo) {
	t.Helper()
	err := kubeconfig.New(file).Update(t.Context(), func(*clientcmdapi.Config) (kubeconfig.Change, error) {
		change := kubeconfig.Change{Clusters: map[string]*clientcmdapi.Cluster{}, Users: users, Contexts: map[string]*clientcmdapi.Context{}}
		for name := range users {
			entry, err := kubeconfig.ContextFor(name, kubeconfig.Connection{Name: cluster, Namespace: "tenant-" + cluster, HostContext: "east"})
			if err != nil {
				return kubeconfig.Change{}, err
			}
			change.Contexts[name], change.Clusters[name] = entry, &clientcmdapi.Cluster{Server: "https://127.0.0.1:1"}
		}
		return change, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRotate replaces the exported kubeconfig, and the key in the contexts that have the old one, or one of before.
func TestRotate(t *testing.T) {
	t.Parallel()
	shop := release.Release{Name: "shop", Namespace: "tenant-shop"}
	exported := &exporter{t: t, certificate: "old"}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, exported.answer, shop)})
	addConnections(t, file, "shop", map[string]*clientcmdapi.AuthInfo{"a": userWith("old"), "b": userWith("old"), "cut": userWith("older"), "token": {Token: "t"}})
	addConnections(t, file, "blog", map[string]*clientcmdapi.AuthInfo{"other": userWith("old")})

	_, errOut, code := runSublet(t, file, "kubeconfig", "rotate", "shop")
	if code != 0 || !strings.Contains(errOut, "have it too: 3.") || !strings.Contains(errOut, "kubectl -n tenant-shop exec shop-0 -- /sublet-server certs rotate-ca") {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "new", "b": "new", "cut": "new", "token": "", "other": "old"} {
		user := config.AuthInfos[name]
		if got := string(user.ClientCertificateData); got != want || want != "" && string(user.ClientKeyData) != "key of "+want {
			t.Errorf("%s has the certificate %q with %q, want %q", name, got, user.ClientKeyData, want)
		}
	}
	if config.AuthInfos["token"].Token != "t" || config.CurrentContext != "east" {
		t.Errorf("token %q, current context %q", config.AuthInfos["token"].Token, config.CurrentContext)
	}
}

// TestRotateToken replaces the token in the contexts that have the old one.
func TestRotateToken(t *testing.T) {
	t.Parallel()
	exported := &exporter{t: t, certificate: "old", tokens: true}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, exported.answer, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	addConnections(t, file, "shop", map[string]*clientcmdapi.AuthInfo{"a": userWithToken("old"), "b": userWith("old"), "c": userWithToken("other")})

	_, errOut, code := runSublet(t, file, "kubeconfig", "rotate", "shop")
	if code != 0 || !strings.Contains(errOut, "have it too: 1.") || !strings.Contains(errOut, "valid until 2100-01-01T00:00:00Z") ||
		!strings.Contains(errOut, "sublet connect shop -n tenant-shop -- kubectl -n kube-system delete serviceaccount deployer") {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]*clientcmdapi.AuthInfo{"a": userWithToken("new"), "b": userWith("old"), "c": userWithToken("other")} {
		if got := config.AuthInfos[name]; got.Token != want.Token || string(got.ClientCertificateData) != string(want.ClientCertificateData) {
			t.Errorf("%s has the token %q", name, got.Token)
		}
	}
}

// TestRotateStuck checks what is said if the control plane writes no new kubeconfig.
func TestRotateStuck(t *testing.T) {
	t.Parallel()
	exported := &exporter{t: t, certificate: "old", stuck: true}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, exported.answer, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	if _, errOut, code := runSublet(t, file, "kubeconfig", "rotate", "shop", "--timeout=100ms"); code != 6 || !strings.Contains(errOut, "hint: See why with: sublet describe shop -n tenant-shop") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

// TestExportedUserRunsNothing checks that no kubeconfig of a control plane that was taken over runs a program here.
func TestExportedUserRunsNothing(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "ran")
	data := exportedConfig(t, &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: "touch", Args: []string{marker}, InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
	}})
	answer := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/secrets/shop-kubeconfig") {
			return false
		}
		write(w, http.StatusOK, &corev1.Secret{Data: map[string][]byte{release.KubeconfigKey: data}})
		return true
	}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, answer, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	if out, _, code := runSublet(t, file, "connect", "shop", "--virtual-server=https://127.0.0.1:1"); code == 0 {
		t.Errorf("nothing listens there: %s", out)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("connect runs a program that the control plane names")
	}
	if out, _, _ := runSublet(t, file, "kubeconfig", "shop"); strings.Contains(out, "exec:") {
		t.Errorf("the program is printed:\n%s", out)
	}
}
