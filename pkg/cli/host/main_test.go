package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
	"github.com/sublet-dev/sublet/test/goroutines"
)

// childVariable names the environment variable with the arguments of a child process, in JSON. The
// home directory and KUBECONFIG belong to a process, so that each case has one of its own.
const childVariable = "SUBLET_TEST_KUBECTL_ARGS"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goroutines.Verify(m)
}

// child does with our packages what kubectl would do with the arguments.
func child(text string) error {
	var args []string
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		return err
	}
	env := &host.Env{Flags: genericclioptions.NewConfigFlags(true)}
	words, flags := []string{}, map[string]string{}
	for _, arg := range args {
		name, value, isFlag := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !strings.HasPrefix(arg, "--") {
			words = append(words, arg)
			continue
		}
		if !isFlag {
			return fmt.Errorf("write %s with =", arg)
		}
		flags[name] = value
	}
	*env.Flags.KubeConfig = flags["kubeconfig"]
	if words[0] == "view" {
		return view(env, flags)
	}
	return env.Files().Update(context.Background(), func(current *clientcmdapi.Config) (kubeconfig.Change, error) {
		return edit(current, words, flags)
	})
}

// view prints what a client would use, as "kubectl config view --minify --flatten --raw" shows it.
func view(env *host.Env, flags map[string]string) error {
	*env.Flags.Context, *env.Flags.Namespace = flags["context"], flags["namespace"]
	*env.Flags.APIServer, *env.Flags.ClusterName, *env.Flags.AuthInfoName = flags["server"], flags["cluster"], flags["user"]
	h, err := env.Host()
	if err != nil {
		return err
	}
	used := h.Config
	exec, provider, proxy := "", "", ""
	if used.ExecProvider != nil {
		exec = used.ExecProvider.Command
	}
	if used.AuthProvider != nil {
		provider = used.AuthProvider.Name
	}
	if used.Proxy != nil {
		address, err := used.Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: "host.example"}})
		if err != nil {
			return err
		}
		proxy = address.String()
	}
	_, err = fmt.Fprintln(os.Stdout, strings.Join([]string{
		h.Context, h.Namespace, used.Host, used.BearerToken, proxy, used.ServerName, used.CAFile, used.Impersonate.UserName,
		exec, provider, used.CertFile, used.KeyFile,
	}, "|"))
	return err
}

// edit returns the change that kubectl would make.
func edit(current *clientcmdapi.Config, words []string, flags map[string]string) (kubeconfig.Change, error) {
	change, name := kubeconfig.Change{}, ""
	if len(words) > 1 {
		name = words[1]
	}
	switch words[0] {
	case "use-context":
		change.CurrentContext = &name
	case "unset":
		none := ""
		change.CurrentContext = &none
	case "delete-context":
		change.Contexts = map[string]*clientcmdapi.Context{name: nil}
	case "delete-cluster":
		change.Clusters = map[string]*clientcmdapi.Cluster{name: nil}
	case "delete-user":
		change.Users = map[string]*clientcmdapi.AuthInfo{name: nil}
	case "set-context":
		entry := clientcmdapi.NewContext()
		if old := current.Contexts[name]; old != nil {
			entry = old.DeepCopy()
		}
		set(&entry.Cluster, flags, "cluster")
		set(&entry.AuthInfo, flags, "user")
		set(&entry.Namespace, flags, "namespace")
		change.Contexts = map[string]*clientcmdapi.Context{name: entry}
	case "set-cluster":
		entry := clientcmdapi.NewCluster()
		if old := current.Clusters[name]; old != nil {
			entry = old.DeepCopy()
		}
		set(&entry.Server, flags, "server")
		set(&entry.TLSServerName, flags, "tls-server-name")
		change.Clusters = map[string]*clientcmdapi.Cluster{name: entry}
	case "set-credentials":
		entry := clientcmdapi.NewAuthInfo()
		if old := current.AuthInfos[name]; old != nil {
			entry = old.DeepCopy()
		}
		set(&entry.Token, flags, "token")
		change.Users = map[string]*clientcmdapi.AuthInfo{name: entry}
	default:
		return change, fmt.Errorf("the test knows no %s", words[0])
	}
	return change, nil
}

func set(field *string, flags map[string]string, name string) {
	if value, ok := flags[name]; ok {
		*field = value
	}
}

// load returns the content of a file, without the name of the file.
func load(t *testing.T, path string) *clientcmdapi.Config {
	t.Helper()
	config, err := clientcmd.LoadFromFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, entry := range config.Contexts {
		entry.LocationOfOrigin = ""
	}
	for _, entry := range config.Clusters {
		entry.LocationOfOrigin = ""
	}
	for _, entry := range config.AuthInfos {
		entry.LocationOfOrigin = ""
	}
	return config
}
