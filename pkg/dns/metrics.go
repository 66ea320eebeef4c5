package dns

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/pkg/rcode"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
)

// observer counts queries and says in the log what went wrong with one.
type observer struct {
	next     plugin.Handler
	domain   string
	answered *metrics.CounterVec
	duration *metrics.HistogramVec
	panics   *metrics.Counter
}

// newObserver makes an observer and hands its metrics to register, if there is
// one. Metrics that nobody registered count nothing.
func newObserver(domain string, register func(metrics.Registerable) error) (*observer, error) {
	o := &observer{
		domain: "." + dns.Fqdn(strings.ToLower(domain)),
		answered: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "dns",
			Name:           "requests_total",
			Help:           "DNS queries by protocol (udp, tcp), by what was asked about (cluster, address, outside) and by the code of the answer.",
			StabilityLevel: metrics.ALPHA,
		}, []string{"protocol", "zone", "rcode"}),
		duration: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Namespace:      "sublet",
			Subsystem:      "dns",
			Name:           "request_duration_seconds",
			Help:           "Time to answer a DNS query, by what was asked about (cluster, address, outside).",
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
	if register == nil {
		return o, nil
	}
	var err error
	if o.answered, err = registered(register, o.answered); err != nil {
		return nil, err
	}
	if o.duration, err = registered(register, o.duration); err != nil {
		return nil, err
	}
	o.panics, err = registered(register, o.panics)
	return o, err
}

// registered is the metric after it was registered, or the one that another
// server of the process registered before.
func registered[T metrics.Registerable](register func(metrics.Registerable) error, metric T) (T, error) {
	err := register(metric)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(T); ok {
			return existing, nil
		}
	}
	if err != nil {
		return metric, fmt.Errorf("cannot register the metric %s: %w", metric.FQName(), err)
	}
	return metric, nil
}

// Name implements plugin.Handler.
func (*observer) Name() string { return "observe" }

// ServeDNS implements plugin.Handler.
func (o *observer) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	start := time.Now()
	recorder := dnstest.NewRecorder(w)
	code, err := o.serveNext(ctx, recorder, r)
	answered := recorder.Rcode
	if !plugin.ClientWrite(code) {
		// Nothing was written; the server writes this code.
		answered = code
	}
	zone := o.zone(state.Name())
	o.answered.WithLabelValues(state.Proto(), zone, rcode.ToString(answered)).Inc()
	o.duration.WithLabelValues(zone).Observe(time.Since(start).Seconds())
	if err != nil {
		klog.FromContext(ctx).V(2).Info("DNS query failed", "name", state.Name(), "type", state.Type(), "reason", err.Error())
	}
	return code, err
}

// serveNext asks the plugins behind. A panic of theirs costs this query alone: it
// is logged, counted and returned as an error.
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

// zone is what a name is about, in few words.
func (o *observer) zone(name string) string {
	switch {
	case strings.HasSuffix("."+name, o.domain):
		return "cluster"
	case strings.HasSuffix(name, ".arpa."):
		return "address"
	default:
		return "outside"
	}
}

// nowhere answers for names outside the cluster where nobody can be asked.
type nowhere struct{}

// Name implements plugin.Handler.
func (nowhere) Name() string { return "nowhere" }

// ServeDNS implements plugin.Handler. The answer is one that is not cached.
func (nowhere) ServeDNS(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
	return dns.RcodeServerFailure, nil
}
