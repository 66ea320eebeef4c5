// Package connection connects a user to a virtual cluster. It gets credentials, opens a
// tunnel through the host, and writes and removes contexts.
package connection

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/forward"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

const (
	// directTimeout bounds the attempt to reach an address without a tunnel.
	directTimeout = 2 * time.Second
	// readyTimeout bounds the wait for the virtual API.
	readyTimeout = 30 * time.Second
	// readyPause is the time between two questions whether it is ready.
	readyPause = 100 * time.Millisecond
	loopback   = "127.0.0.1"
)

// Options specify how to connect.
type Options struct {
	// Server is the URL of the virtual API. Default: the exported server if it answers, else a
	// tunnel.
	Server string
	// Port is the local port of the tunnel. 0 means any free port.
	Port int
	// ServiceAccount is the account of the virtual cluster to get a token for, as
	// NAMESPACE/NAME. Empty means the client certificate of the tenant.
	ServiceAccount string
	// Expiration is how long that token is valid. Default: one hour.
	Expiration time.Duration
	// ContextName is the name of the context. Default: one of cluster, namespace and host.
	ContextName string
	// KeepContext leaves the current context as it is.
	KeepContext bool
}

// Target is one virtual cluster to connect to.
type Target struct {
	Options
	Env     *host.Env
	Host    *host.Host
	Release release.Release
}

// New returns a target for a release in the namespace of h.
func New(env *host.Env, h *host.Host, name string, options Options) *Target {
	return &Target{Options: options, Env: env, Host: h, Release: release.Release{Name: name, Namespace: h.Namespace}}
}

// Forwarder returns a forwarder to a port of the control plane.
func (t *Target) Forwarder(port int) *forward.Forwarder {
	return &forward.Forwarder{
		Config: t.Host.Config, Client: t.Host.Client, Namespace: t.Release.Namespace, Port: port,
		Pod: forward.ReadyPod(t.Host.Client, t.Release.Namespace, t.Release.ControlPlaneSelector()),
	}
}

// Listen opens the local end of a tunnel.
func (t *Target) Listen(ctx context.Context) (net.Listener, error) {
	address := net.JoinHostPort(loopback, strconv.Itoa(t.Port))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &fault.Error{
			Code: fault.Conflict, Message: "cannot listen on " + address, Cause: err,
			Hint: "Choose another port with --port, or leave it out for any free one.",
		}
	}
	return listener, nil
}

// Exported returns cluster and user of the kubeconfig that the control plane exports.
func (t *Target) Exported(ctx context.Context) (*clientcmdapi.Cluster, *clientcmdapi.AuthInfo, error) {
	name := t.Release.Kubeconfig()
	secret, err := t.Host.Client.CoreV1().Secrets(t.Release.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, t.notWritten(name)
	}
	if err != nil {
		return nil, nil, fault.Wrap(err, "cannot get kubeconfig Secret %s/%s", t.Release.Namespace, name)
	}
	config, err := clientcmd.Load(secret.Data[release.KubeconfigKey])
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read Secret %s/%s: %w", t.Release.Namespace, name, err)
	}
	current := config.Contexts[config.CurrentContext]
	if current == nil || config.Clusters[current.Cluster] == nil || config.AuthInfos[current.AuthInfo] == nil {
		return nil, nil, t.notWritten(name)
	}
	// Whoever has taken over the control plane writes the Secret. What is left runs no program here, and names no file.
	cluster, user := config.Clusters[current.Cluster], config.AuthInfos[current.AuthInfo]
	return &clientcmdapi.Cluster{
			Server: cluster.Server, InsecureSkipTLSVerify: cluster.InsecureSkipTLSVerify, CertificateAuthorityData: cluster.CertificateAuthorityData,
		},
		&clientcmdapi.AuthInfo{ClientCertificateData: user.ClientCertificateData, ClientKeyData: user.ClientKeyData, Token: user.Token}, nil
}

// notWritten returns the error for a Secret that the control plane has not written yet.
func (t *Target) notWritten(secret string) error {
	return fault.New(fault.NotReady, fmt.Sprintf("Wait until the virtual cluster is ready: kubectl -n %s get pod %s", t.Release.Namespace, t.Release.Pod(0)),
		"the control plane has not written Secret %s/%s yet", t.Release.Namespace, secret)
}

// CheckServer returns an error if text is no URL of an API server. It may be empty.
func CheckServer(text string) error {
	if address, err := url.Parse(text); text == "" || err == nil && address.Scheme == "https" && address.Host != "" {
		return nil
	}
	return fault.New(fault.Usage, "Write it with https, as in https://shop.example.com:8443.", "--virtual-server is %q", text)
}

// DirectServer returns the URL at which the virtual API answers without a tunnel. It is empty if
// there is none.
func (t *Target) DirectServer(ctx context.Context, exported string) string {
	if t.Server != "" {
		return t.Server
	}
	if exported == fmt.Sprintf("https://%s.%s", t.Release.Service(), t.Release.Namespace) || t.Port != 0 {
		return "" // it is for pods of the host, or a tunnel is wanted
	}
	address, err := url.Parse(exported)
	if err != nil {
		return ""
	}
	port := address.Port()
	if port == "" {
		port = "443"
	}
	dialer := net.Dialer{Timeout: directTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address.Hostname(), port))
	if err != nil {
		return ""
	}
	_ = conn.Close()
	return exported
}

// virtualConfig returns the configuration of clients of the virtual cluster. A tunnel is used
// if it is not nil.
func virtualConfig(cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, tunnel *forward.Forwarder) (*rest.Config, error) {
	config, err := clientcmd.NewDefaultClientConfig(*standalone("virtual", cluster, user), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig of the virtual cluster: %w", err)
	}
	config.Timeout = readyTimeout
	if tunnel != nil {
		config.Dial = tunnel.DialContext
	}
	return config, nil
}

// standalone returns a kubeconfig with one context.
func standalone(name string, cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) *clientcmdapi.Config {
	return &clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: user},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}
}

// awaitReady waits until the virtual API is ready. A new one is not for a moment after its pod is: it
// answers, but its caches still fill. Other errors end the wait.
func awaitReady(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		if !apierrors.IsInternalError(err) && !apierrors.IsServiceUnavailable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(readyPause):
		}
	}
}

// credentials returns the user to write, once the virtual API answers. With a service
// account, it gets a token for it.
func (t *Target) credentials(ctx context.Context, cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, tunnel *forward.Forwarder) (*clientcmdapi.AuthInfo, error) {
	config, err := virtualConfig(cluster, user, tunnel)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig of the virtual cluster: %w", err)
	}
	if err := awaitReady(ctx, client); err != nil {
		if tunnel != nil {
			err = tunnel.Explain(err)
		}
		return nil, &fault.Error{
			Code: fault.NotReady, Message: fmt.Sprintf("virtual cluster %s/%s does not answer", t.Release.Namespace, t.Release.Name), Cause: err,
			Hint: fmt.Sprintf("See what is wrong with: sublet describe %s -n %s", t.Release.Name, t.Release.Namespace),
		}
	}
	if t.ServiceAccount == "" {
		return user, nil
	}
	namespace, name, ok := strings.Cut(t.ServiceAccount, "/")
	if !ok || namespace == "" || name == "" {
		return nil, fault.New(fault.Usage, "Write it as NAMESPACE/NAME, as in kube-system/deployer.", "--service-account is %q", t.ServiceAccount)
	}
	seconds := int64(t.Expiration / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	response, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		wrapped := fault.Wrap(err, "cannot create a token for service account %s of the virtual cluster", t.ServiceAccount)
		if code, _ := fault.Classify(err); code == fault.NotFound {
			return nil, &fault.Error{Code: code, Message: wrapped.Error(), Hint: fmt.Sprintf("Create it first: kubectl -n %s create serviceaccount %s", namespace, name)}
		}
		return nil, wrapped
	}
	return &clientcmdapi.AuthInfo{Token: response.Status.Token}, nil
}
