package dns

import (
	"context"
	"slices"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// maxLookups is how many names one query leads to at most.
const maxLookups = 8

// lookupsKey is the context key of the names that a query has led to, its own first.
type lookupsKey struct{}

// lookups is the first plugin of the chain. A Service that is an external name sends its name
// through the chain once more, on behalf of the same query. An operator's rule may answer that
// name like the Service, without end. A stack that grows without end ends the process.
type lookups struct{ next plugin.Handler }

// Name implements plugin.Handler.
func (*lookups) Name() string { return "lookups" }

// ServeDNS implements plugin.Handler. It fails for a name that leads back to itself.
func (l *lookups) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	before, name := namesOf(ctx), state.Name()
	if len(before) >= maxLookups || slices.Contains(before, name) {
		return dns.RcodeServerFailure, nil
	}
	ctx = context.WithValue(ctx, lookupsKey{}, append(slices.Clip(before), name))
	return plugin.NextOrFailure(l.Name(), l.next, ctx, w, r)
}

// namesOf returns the names that a query has led to.
func namesOf(ctx context.Context) []string {
	names, _ := ctx.Value(lookupsKey{}).([]string)
	return names
}

// isFollowUp reports whether a lookup is a part of a query that a client has sent before.
func isFollowUp(ctx context.Context) bool { return len(namesOf(ctx)) > 1 }
