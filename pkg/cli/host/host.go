// Package host connects a command to the cluster that virtual clusters run on.
package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // auth-provider plugins, as kubectl has them
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

// Env is what each command gets: the flags of kubectl that choose a cluster, and the streams.
type Env struct {
	// Flags are kubectl's own: --kubeconfig, --context, --namespace, --as and so on.
	Flags *genericclioptions.ConfigFlags
	// In, Out and Err are the standard streams.
	In       io.Reader
	Out, Err io.Writer
	// IsTerminal is true if a person reads Err and can answer on In.
	IsTerminal bool
	// ShowsOut is true if a person reads Out, on a terminal.
	ShowsOut bool
	// Colours is true if that person may want colours.
	Colours bool
	// Version is the version of the command line.
	Version string
	// HostFlags are the flags that the user gave, for another process of this program. Context
	// and namespace are not among them.
	HostFlags []string
}

// EndSignals returns the signals that end a command: those of Ctrl-C, of kill, and of a terminal that is closed. Under
// nohup, the last one is left out.
func EndSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if signal.Ignored(syscall.SIGHUP) {
		return signals
	}
	return append(signals, syscall.SIGHUP)
}

// Host is one cluster that virtual clusters run on.
type Host struct {
	// Context is the name of its context. It is empty in a pod.
	Context string
	// Namespace is the namespace of the flags or of the context. HasNamespace is false if
	// neither has one; Namespace is "default" then.
	Namespace    string
	HasNamespace bool
	// Getter loads clients with the same flags, for Helm.
	Getter *genericclioptions.ConfigFlags
	// Config is the configuration of clients.
	Config *rest.Config
	// Client is a client of it.
	Client kubernetes.Interface
}

// Files returns the kubeconfig files.
func (e *Env) Files() *kubeconfig.Files { return kubeconfig.New(*e.Flags.KubeConfig) }

// Host returns the host cluster. If the current context is one of "sublet connect", that is the
// cluster that the virtual cluster runs on. An explicit --context is used as it is.
func (e *Env) Host() (*Host, error) {
	config, err := e.Files().Load()
	if err != nil {
		return nil, LoadError(err)
	}
	name := *e.Flags.Context
	if name == "" {
		name = config.CurrentContext
		if connection, ok := kubeconfig.ConnectionOf(config.Contexts[name]); ok {
			name = connection.HostContext
		}
	}
	return e.HostOf(name)
}

// HostOf returns the host cluster of a context. An empty name means the cluster that this
// process runs in, or the one that the flags describe.
func (e *Env) HostOf(name string) (*Host, error) {
	flags := copyFlags(e.Flags)
	flags.Context = &name
	loader := flags.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, LoadError(err)
	}
	if name == "" && usesVirtualContext(flags, raw) {
		none := os.DevNull
		flags = copyFlags(flags) // without the files that were read
		flags.KubeConfig = &none
		loader, raw = flags.ToRawKubeConfigLoader(), clientcmdapi.Config{}
	}
	context, ok := raw.Contexts[name]
	if name != "" && !ok {
		return nil, unknownContext(name, raw.Contexts)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, contextError(err, name)
	}
	if err := checkServer(flags, config, raw, name); err != nil {
		return nil, err
	}
	config.QPS = -1 // the API server limits requests by itself
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fault.Wrap(err, "cannot use context %q", name)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, contextError(err, name)
	}
	return &Host{
		Context: name, Namespace: namespace, HasNamespace: *flags.Namespace != "" || ok && context.Namespace != "",
		Getter: flags, Config: config, Client: client,
	}, nil
}

// usesVirtualContext reports whether client-go would use a context of "sublet connect" for a host without one. It does
// not if flags name both entries of the host in the files.
func usesVirtualContext(flags *genericclioptions.ConfigFlags, raw clientcmdapi.Config) bool {
	_, isVirtual := kubeconfig.ConnectionOf(raw.Contexts[raw.CurrentContext])
	return isVirtual && (*flags.ClusterName == "" || *flags.AuthInfoName == "")
}

// defaultServer is what client-go uses where nothing names a server.
const defaultServer = "http://localhost:8080"

// checkServer returns an error if nothing names the server of a context. kubectl tries its own
// machine then, and its message does not give the reason.
func checkServer(flags *genericclioptions.ConfigFlags, config *rest.Config, raw clientcmdapi.Config, name string) error {
	if config.Host != defaultServer || *flags.APIServer != "" {
		return nil
	}
	if name == "" {
		return fault.New(fault.Usage, "Name a file with --kubeconfig or KUBECONFIG, or write $HOME/.kube/config.", "no kubeconfig file names a server")
	}
	cluster := cmp.Or(*flags.ClusterName, raw.Contexts[name].Cluster)
	if entry, ok := raw.Clusters[cluster]; ok && entry.Server != "" {
		return nil
	}
	return fault.New(fault.Usage, "Look at the contexts with: kubectl config view", "context %q has the cluster %q, and no kubeconfig file has a server of it", name, cluster)
}

// LoadError returns the error for a kubeconfig that cannot be read.
func LoadError(err error) error {
	code, hint := fault.Classify(err)
	if code == fault.Failed {
		code, hint = fault.Usage, "Look at the file, or use another one with --kubeconfig."
	}
	return &fault.Error{Code: code, Message: "cannot load the kubeconfig", Hint: hint, Cause: err}
}

// contextError returns the error for a context that cannot be used.
func contextError(err error, name string) error {
	code, hint := fault.Classify(err)
	if code == fault.Failed {
		code, hint = fault.Usage, "Look at the contexts with: kubectl config view"
	}
	return &fault.Error{Code: code, Message: fmt.Sprintf("cannot use context %q", name), Hint: hint, Cause: err}
}

// WithNamespace returns the host with another namespace, as if it had been a flag.
func (h *Host) WithNamespace(namespace string) *Host {
	other := *h
	other.Namespace, other.HasNamespace = namespace, true
	other.Getter = copyFlags(h.Getter)
	other.Getter.Namespace = &namespace
	return &other
}

// copyFlags returns flags with the same values, which load their files again.
func copyFlags(flags *genericclioptions.ConfigFlags) *genericclioptions.ConfigFlags {
	other := genericclioptions.NewConfigFlags(true)
	other.CacheDir, other.KubeConfig, other.ClusterName, other.AuthInfoName = flags.CacheDir, flags.KubeConfig, flags.ClusterName, flags.AuthInfoName
	other.Context, other.Namespace, other.APIServer, other.TLSServerName = flags.Context, flags.Namespace, flags.APIServer, flags.TLSServerName
	other.Insecure, other.CertFile, other.KeyFile, other.CAFile = flags.Insecure, flags.CertFile, flags.KeyFile, flags.CAFile
	other.BearerToken, other.Timeout, other.DisableCompression = flags.BearerToken, flags.Timeout, flags.DisableCompression
	other.Impersonate, other.ImpersonateUID, other.ImpersonateGroup = flags.Impersonate, flags.ImpersonateUID, flags.ImpersonateGroup
	other.ImpersonateUserExtra, other.ProxyURL = flags.ImpersonateUserExtra, flags.ProxyURL
	return other
}

// unknownContext returns the error for a context that no file has.
func unknownContext[V any](name string, contexts map[string]V) error {
	names := make([]string, 0, len(contexts))
	for known := range contexts {
		names = append(names, known)
	}
	slices.Sort(names)
	hint := "No kubeconfig file has a context. Name a file with --kubeconfig or KUBECONFIG."
	if len(names) > 0 {
		hint = "Use one of: " + strings.Join(names, ", ")
	}
	return fault.New(fault.NotFound, hint, "context %q does not exist", name)
}

// Confirm asks a question on a terminal. It fails if there is none.
func (e *Env) Confirm(ctx context.Context, question string) error {
	if !e.IsTerminal {
		return fault.New(fault.Usage, "Confirm with --yes.", "cannot ask: this is no terminal")
	}
	fmt.Fprintf(e.Err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		var text string
		_, _ = fmt.Fscanln(e.In, &text)
		answer <- strings.ToLower(text)
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case text := <-answer:
		if text != "y" && text != "yes" {
			return errors.New("not confirmed: nothing was changed")
		}
		return nil
	}
}
