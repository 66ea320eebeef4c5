package dns

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/pkg/rcode"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/meter"
)

// observer is a plugin that counts queries, logs their errors and recovers from panics.
type observer struct {
	next     plugin.Handler
	domain   string
	answered *metrics.CounterVec
	duration *metrics.HistogramVec
	panics   *metrics.Counter
}

// newObserver creates an observer and registers its metrics, if register is set.
// Metrics that are not registered count nothing.
func newObserver(domain string, register func(metrics.Registerable) error) (*observer, error) {
	o := &observer{
		domain: "." + dns.Fqdn(strings.ToLower(domain)),
		answered: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "dns",
			Name:           "requests_total",
			Help:           "DNS queries by protocol (udp, tcp), by zone (cluster, address, outside) and by response code.",
			StabilityLevel: metrics.ALPHA,
		}, []string{"protocol", "zone", "rcode"}),
		duration: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Namespace:      "sublet",
			Subsystem:      "dns",
			Name:           "request_duration_seconds",
			Help:           "Time to answer a DNS query, by zone (cluster, address, outside).",
			Buckets:        metrics.ExponentialBuckets(0.0001, 4, 9),
			StabilityLevel: metrics.ALPHA,
		}, []string{"zone"}),
		panics: metrics.NewCounter(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "dns",
			Name:           "panics_total",
			Help:           "DNS queries that ended in a panic. Each is a bug; its stack is in the log.",
			StabilityLevel: metrics.ALPHA,
		}),
	}
	var err error
	if o.answered, err = meter.Register(register, o.answered); err != nil {
		return nil, err
	}
	if o.duration, err = meter.Register(register, o.duration); err != nil {
		return nil, err
	}
	o.panics, err = meter.Register(register, o.panics)
	return o, err
}

// Name implements plugin.Handler.
func (*observer) Name() string { return "observe" }

// ServeDNS implements plugin.Handler.
func (o *observer) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	start := time.Now() //nolint:forbidigo // a duration for a metric
	recorder := dnstest.NewRecorder(w)
	code, err := o.serveNext(ctx, recorder, r)
	written := recorder.Rcode
	if !plugin.ClientWrite(code) {
		// Nothing was written, so the server writes this code.
		written = code
	}
	zone := o.zoneOf(state.Name())
	o.answered.WithLabelValues(state.Proto(), zone, rcode.ToString(written)).Inc()
	o.duration.WithLabelValues(zone).Observe(time.Since(start).Seconds()) //nolint:forbidigo // the same
	if err != nil {
		klog.FromContext(ctx).V(2).Info("DNS query failed", "name", state.Name(), "type", state.Type(), "reason", err.Error())
	}
	return code, err
}

// serveNext calls the next plugin. If it panics, serveNext logs and counts that, and
// returns an error: only this query fails.
func (o *observer) serveNext(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (code int, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			o.panics.Inc()
			code, err = dns.RcodeServerFailure, fmt.Errorf("panic: %v", cause)
			klog.FromContext(ctx).Error(err, "Cannot serve DNS query", "stack", string(debug.Stack()))
		}
	}()
	return plugin.NextOrFailure(o.Name(), o.next, ctx, w, r)
}

// zoneOf returns the zone of a name, as the metrics call it.
func (o *observer) zoneOf(name string) string {
	switch {
	case strings.HasSuffix("."+name, o.domain):
		return "cluster"
	case strings.HasSuffix(name, ".arpa."):
		return "address"
	default:
		return "outside"
	}
}
