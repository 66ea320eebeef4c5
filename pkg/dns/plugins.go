package dns

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/forward"
	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/miekg/dns"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	// addConfigured looks up their setup by name.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/loadbalance"
)

const (
	kubernetesText = `kubernetes %s in-addr.arpa ip6.arpa {
		pods insecure
		fallthrough in-addr.arpa ip6.arpa
		ttl 30
	}`
	// cacheText bounds the memory of the cache: an entry takes about 1 KiB.
	cacheText = `cache 30 . {
		success 4096
		denial 2048
		%s
	}`
	// staleText answers from the cache if there is no answer after a second. Resolvers
	// ask again after five.
	staleText   = "serve_stale 1h verify 1s"
	forwardText = `forward %s %s {
		max_concurrent 1000
	}`
)

// assemble builds the chain of plugins. All that CoreDNS expects of a Corefile and of
// caddy is in this file.
func (s *Server) assemble(options Options) error {
	observed, err := newObserver(options.ClusterDomain, options.Register)
	if err != nil {
		return err
	}
	known, err := newClients(options)
	if err != nil {
		return err
	}
	if s.kubernetes, err = newKubernetes(options); err != nil {
		return err
	}
	config := &dnsserver.Config{Zone: ".", ListenHosts: []string{""}, Transport: "dns"}
	limited, settings, own := &lookups{}, newOperatorNames(options), newOwnNames(options)
	add(config, limited, &limited.next)
	add(config, observed, &observed.next)
	add(config, known, &known.next)
	if err := s.addConfigured(config, "loadbalance", "loadbalance"); err != nil {
		return err
	}
	add(config, settings, &settings.next)
	add(config, own, &own.next)
	add(config, s.kubernetes, &s.kubernetes.Next)
	if err := s.addForwards(config, options); err != nil {
		return err
	}
	if err := s.addOutside(config, options); err != nil {
		return err
	}
	s.server, err = dnsserver.NewServer("dns://"+options.Address, []*dnsserver.Config{config})
	return err
}

// add adds a plugin to the end of the chain. next is its field for the plugin after it.
func add(config *dnsserver.Config, added plugin.Handler, next *plugin.Handler) {
	config.AddPlugin(func(after plugin.Handler) plugin.Handler {
		*next = after
		return added
	})
}

// addForwards adds a plugin for each domain with a nameserver of its own. The first one whose
// domain has a name resolves it, so domains come before those that they are in.
func (s *Server) addForwards(config *dnsserver.Config, options Options) error {
	domains := slices.SortedFunc(maps.Keys(options.Forward), func(a, b string) int {
		return cmp.Or(dns.CountLabel(b)-dns.CountLabel(a), strings.Compare(a, b))
	})
	for _, domain := range domains {
		if err := s.addConfigured(config, "forward", fmt.Sprintf(forwardText, domain, options.Forward[domain])); err != nil {
			return err
		}
	}
	return nil
}

// addOutside adds the plugins that resolve names outside the cluster.
func (s *Server) addOutside(config *dnsserver.Config, options Options) error {
	guard := &outsideGuard{zones: hostZones(options.ResolvConf), inner: options.HostRanges}
	add(config, guard, &guard.next)
	upstreams := options.Upstreams
	if len(upstreams) == 0 {
		config.AddPlugin(func(plugin.Handler) plugin.Handler { return nowhere{} })
		return nil
	}
	stale := ""
	if options.ServeStale {
		stale = staleText
	}
	if err := s.addConfigured(config, "cache", fmt.Sprintf(cacheText, stale)); err != nil {
		return err
	}
	return s.addConfigured(config, "forward", fmt.Sprintf(forwardText, ".", strings.Join(upstreams, " ")))
}

// nowhere is a plugin that fails for names outside the cluster. It ends the chain if
// there is no nameserver outside.
type nowhere struct{}

// Name implements plugin.Handler.
func (nowhere) Name() string { return "nowhere" }

// ServeDNS implements plugin.Handler. Resolvers do not cache its answer.
func (nowhere) ServeDNS(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
	return dns.RcodeServerFailure, nil
}

// newKubernetes creates the plugin for names of the cluster. Its directive is not
// used: it would read the API server from a file and change the settings of klog.
func newKubernetes(options Options) (*kubernetes.Kubernetes, error) {
	text := fmt.Sprintf(kubernetesText, options.ClusterDomain)
	controller := &caddy.Controller{Dispenser: caddyfile.NewDispenser("sublet", strings.NewReader(text))}
	controller.Next()
	k, err := kubernetes.ParseStanza(controller)
	if err != nil {
		return nil, err
	}
	k.ClientConfig = inMemory{config: options.Virtual}
	// The two functions that it returns would start the watches and block until there
	// is an API server. Run does both later.
	_, _, err = k.InitKubeCache(context.Background()) //nolint:forbidigo // its watches start later
	if err != nil {
		return nil, err
	}
	k.APIConn = boundedEndpoints{k.APIConn}
	return k, nil
}

// addConfigured adds a plugin that is set up by the text of a Corefile. The setup
// comes from caddy's registry, which is only read here. The controller is the one of
// CoreDNS's tests, as any other belongs to an instance.
func (s *Server) addConfigured(config *dnsserver.Config, directive, text string) error {
	setup, err := caddy.DirectiveAction("dns", directive)
	if err != nil {
		return err
	}
	controller := caddy.NewTestController("dns", text)
	if err := setup(controller); err != nil {
		return err
	}
	for _, p := range dnsserver.GetConfig(controller).Plugin {
		config.AddPlugin(func(next plugin.Handler) plugin.Handler {
			handler := p(next)
			if f, ok := handler.(*forward.Forward); ok {
				s.forwards = append(s.forwards, f)
			}
			return handler
		})
	}
	return nil
}

// inMemory is a clientcmd.ClientConfig that is not in a file.
type inMemory struct {
	config *rest.Config
}

// ClientConfig implements clientcmd.ClientConfig. It returns a copy, as CoreDNS
// changes it.
func (m inMemory) ClientConfig() (*rest.Config, error) { return rest.CopyConfig(m.config), nil }

// RawConfig implements clientcmd.ClientConfig.
func (inMemory) RawConfig() (clientcmdapi.Config, error) { return *clientcmdapi.NewConfig(), nil }

// Namespace implements clientcmd.ClientConfig.
func (inMemory) Namespace() (string, bool, error) { return "", false, nil }

// ConfigAccess implements clientcmd.ClientConfig.
func (inMemory) ConfigAccess() clientcmd.ConfigAccess { return nil }
