package dns

import (
	"context"
	"net/netip"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// fixedTTL is how long clients may keep the address of a fixed name, in seconds.
const fixedTTL = 30

// operatorNames is a plugin with the names that the operator has set. Names of the cluster
// and of the world outside come after them.
type operatorNames struct {
	next    plugin.Handler
	hosts   map[string]netip.Addr // name -> its address
	rewrite map[string]string     // name -> the name whose answer it gets, at the end of all rules
}

// newOperatorNames returns the plugin. Names are in lower case and end with a dot.
func newOperatorNames(options Options) *operatorNames {
	o := &operatorNames{hosts: map[string]netip.Addr{}, rewrite: map[string]string{}}
	for name, text := range options.Hosts {
		if address, err := netip.ParseAddr(text); err == nil {
			o.hosts[dns.Fqdn(strings.ToLower(name))] = address.Unmap()
		}
	}
	direct := map[string]string{}
	for name, other := range options.Rewrite {
		direct[dns.Fqdn(strings.ToLower(name))] = dns.Fqdn(strings.ToLower(other))
	}
	for name := range direct {
		o.rewrite[name] = o.resolveName(direct, name)
	}
	return o
}

// resolveName returns the name at the end of rules: a fixed one, or one without a rule. It returns a
// name of a circle if they have no end.
func (o *operatorNames) resolveName(rules map[string]string, name string) string {
	seen := map[string]bool{}
	for !seen[name] {
		seen[name] = true
		next, hasRule := rules[name]
		if _, fixed := o.hosts[name]; fixed || !hasRule {
			return name
		}
		name = next
	}
	return name
}

// Name implements plugin.Handler.
func (*operatorNames) Name() string { return "settings" }

// ServeDNS implements plugin.Handler.
func (o *operatorNames) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	if address, ok := o.hosts[state.Name()]; ok {
		return writeAddresses(w, r, state, []netip.Addr{address})
	}
	other, ok := o.rewrite[state.Name()]
	if !ok {
		return plugin.NextOrFailure(o.Name(), o.next, ctx, w, r)
	}
	if address, fixed := o.hosts[other]; fixed {
		return writeAddresses(w, r, state, []netip.Addr{address})
	}
	asked := r.Copy()
	asked.Question[0].Name = other
	return plugin.NextOrFailure(o.Name(), o.next, ctx, &renamed{ResponseWriter: w, query: r, other: other}, asked)
}

// writeAddresses answers with fixed addresses. For other types the name exists without a record.
func writeAddresses(w dns.ResponseWriter, r *dns.Msg, state request.Request, addresses []netip.Addr) (int, error) {
	answer := new(dns.Msg)
	answer.SetReply(r)
	answer.Authoritative = true
	header := dns.RR_Header{Name: state.QName(), Rrtype: state.QType(), Class: dns.ClassINET, Ttl: fixedTTL}
	for _, address := range addresses {
		switch {
		case state.QType() == dns.TypeA && address.Is4():
			answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: address.AsSlice()})
		case state.QType() == dns.TypeAAAA && address.Is6():
			answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: header, AAAA: address.AsSlice()})
		}
	}
	return dns.RcodeSuccess, w.WriteMsg(answer)
}

// renamed gives the answer for another name the name that was asked for.
type renamed struct {
	dns.ResponseWriter
	query *dns.Msg
	other string
}

// WriteMsg implements dns.ResponseWriter. The records may belong to a cache.
func (n *renamed) WriteMsg(answer *dns.Msg) error {
	copied := answer.Copy()
	copied.Question = n.query.Question
	for _, record := range copied.Answer {
		if strings.EqualFold(record.Header().Name, n.other) {
			record.Header().Name = n.query.Question[0].Name
		}
	}
	return n.ResponseWriter.WriteMsg(copied)
}
