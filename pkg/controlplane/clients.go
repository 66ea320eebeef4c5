package controlplane

import (
	"net"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/discovery"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/controller-manager/pkg/clientbuilder"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/controlplane/informers"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// namespaceController is the name of the client of upstream's namespace controller.
const namespaceController = "namespace-controller"

// clientBuilder returns in-memory clients for controllers. A client has the name of the controller's
// usual service account, and is in the group system:masters, which makes authorization cheap.
type clientBuilder struct {
	plane *ControlPlane
	// discovery keeps the answers of discovery for the namespace controller, nil for none.
	discovery *firstDiscovery
}

var _ clientbuilder.ControllerClientBuilder = clientBuilder{}

// Config returns the configuration of a controller's client.
func (b clientBuilder) Config(name string) (*rest.Config, error) {
	config := b.plane.ClientConfig(serviceaccount.MakeUsername(metav1.NamespaceSystem, name),
		append(serviceaccount.MakeGroupNames(metav1.NamespaceSystem), pki.GroupAdmins)...)
	config = rest.AddUserAgent(config, name)
	if name == namespaceController && b.discovery != nil {
		config = b.discovery.wrap(config)
	}
	return config, nil
}

// ConfigOrDie returns what Config does, which cannot fail.
func (b clientBuilder) ConfigOrDie(name string) *rest.Config {
	config, _ := b.Config(name)
	return config
}

// Client returns a controller's client.
func (b clientBuilder) Client(name string) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(b.ConfigOrDie(name))
}

// ClientOrDie returns what Client does, which cannot fail with this configuration.
func (b clientBuilder) ClientOrDie(name string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(b.ConfigOrDie(name))
}

// DiscoveryClient returns a controller's client for discovery.
func (b clientBuilder) DiscoveryClient(name string) (discovery.DiscoveryInterface, error) {
	return discovery.NewDiscoveryClientForConfig(b.ConfigOrDie(name))
}

// DiscoveryClientOrDie returns what DiscoveryClient does, which cannot fail with this
// configuration.
func (b clientBuilder) DiscoveryClientOrDie(name string) discovery.DiscoveryInterface {
	return discovery.NewDiscoveryClientForConfigOrDie(b.ConfigOrDie(name))
}

// loopbackAddress returns the address of the process's own port. In-memory clients
// never dial it, but the libraries derive addresses from it.
func (c *ControlPlane) loopbackAddress() string {
	address := *c.config.Listener.Addr().(*net.TCPAddr)
	if address.IP == nil || address.IP.IsUnspecified() {
		address.IP = net.IPv4(127, 0, 0, 1)
	}
	return address.String()
}

// newInformers returns the shared informers of the process. Their client has a transport of its
// own, so that only their lists and watches are observed.
func (a *assembly) newInformers() (clientinformers.SharedInformerFactory, error) {
	config := rest.CopyConfig(a.loopback)
	if observe := a.config.ObserveInformers; observe != nil {
		config.Wrap(observe)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := clientinformers.NewSharedInformerFactoryWithOptions(client, resync, clientinformers.WithTransform(stripManagedFields))
	return informers.NewOnContext(factory), nil
}
