package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// connected is the kubeconfig of somebody whose host has no context, after "sublet connect".
const connected = `apiVersion: v1
kind: Config
clusters:
- {name: shop, cluster: {server: "https://127.0.0.1:1"}}
- {name: east, cluster: {server: "https://east.example"}}
contexts:
- name: shop
  context:
    cluster: shop
    user: shop
    extensions:
    - {name: sublet.dev/connection, extension: {name: shop, namespace: tenant-shop, hostContext: "", previous: ""}}
current-context: shop
users:
- {name: shop, user: {token: of-the-tenant}}
- {name: admin, user: {token: of-the-operator}}
`

// TestHostWithoutContext checks that the context of a virtual cluster is not taken for its host. Here the host has no
// context: flags, or the pod of this process, lead to it.
func TestHostWithoutContext(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(connected), 0o600); err != nil {
		t.Fatal(err)
	}
	env := &host.Env{Flags: genericclioptions.NewConfigFlags(true)}
	*env.Flags.KubeConfig = file
	if h, err := env.Host(); err == nil {
		t.Errorf("nothing leads to the host, and %s is taken for it", h.Config.Host)
	}
	env.Flags = genericclioptions.NewConfigFlags(true)
	*env.Flags.KubeConfig, *env.Flags.APIServer = file, "https://host.example"
	h, err := env.Host()
	if err != nil {
		t.Fatal(err)
	}
	if h.Config.Host != "https://host.example" || h.Config.BearerToken != "" || h.Context != "" {
		t.Errorf("the host is %s, with the token %q and the context %q", h.Config.Host, h.Config.BearerToken, h.Context)
	}
	env.Flags = genericclioptions.NewConfigFlags(true)
	*env.Flags.KubeConfig, *env.Flags.ClusterName, *env.Flags.AuthInfoName = file, "east", "admin"
	h, err = env.Host()
	if err != nil {
		t.Fatal(err)
	}
	if h.Config.Host != "https://east.example" || h.Config.BearerToken != "of-the-operator" || h.HasNamespace {
		t.Errorf("the host is %s, with the token %q and the namespace %s", h.Config.Host, h.Config.BearerToken, h.Namespace)
	}
}
