package dns

import (
	"context"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// ownNames is a plugin that answers each pod with the addresses of its own full name. Kubelets of a
// cluster write that name into /etc/hosts of the pod. Those of the host do not know it, and no
// Service needs to exist for it. Nobody but the pod gets this answer.
type ownNames struct {
	next   plugin.Handler
	pods   *Pods
	suffix string // such as .svc.cluster.local.
}

// newOwnNames returns the plugin. Without pods it answers nothing.
func newOwnNames(options Options) *ownNames {
	return &ownNames{pods: options.Pods, suffix: ".svc." + dns.Fqdn(strings.ToLower(options.ClusterDomain))}
}

// Name implements plugin.Handler.
func (*ownNames) Name() string { return "ownnames" }

// ServeDNS implements plugin.Handler.
func (o *ownNames) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	name, below := strings.CutSuffix(state.Name(), o.suffix)
	if !below || o.pods == nil {
		return plugin.NextOrFailure(o.Name(), o.next, ctx, w, r)
	}
	pod, ok := o.pods.withFullName(addressOf(w.RemoteAddr()))
	if !ok || pod.name != name {
		return plugin.NextOrFailure(o.Name(), o.next, ctx, w, r)
	}
	return writeAddresses(w, r, state, pod.addresses)
}
