package check

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

const (
	// reachName is the name of the check that all others need.
	reachName = "api"
	// reachTimeout bounds the first request.
	reachTimeout = 10 * time.Second
	// warnSkew and maxSkew are how far two clocks may be apart. Tokens of a service account are not
	// valid before their time, and certificates neither.
	warnSkew = 5 * time.Second
	maxSkew  = time.Minute
)

// checkReach checks that the API server of the host answers here, and accepts the user.
func (t *target) checkReach(ctx context.Context, h *host.Host) result {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	began := time.Now()
	if err := t.client.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Error(); err != nil {
		return failWith(reachName, fmt.Errorf("cannot ask the API server of context %q: %w", h.Context, err))
	}
	return pass(reachName, "%s answers in %s", h.Config.Host, time.Since(began).Round(time.Millisecond))
}

// checkClock compares the clock of this machine with that of the API server. An answer has whole
// seconds, and the time that it took is not known exactly, so that much is no skew.
func checkClock(ctx context.Context, config *rest.Config, now func() time.Time) result {
	const name = "clock"
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return failWith(name, err)
	}
	defer client.CloseIdleConnections()
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return failWith(name, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("version").String(), nil)
	if err != nil {
		return failWith(name, err)
	}
	before := now()
	response, err := client.Do(request)
	if err != nil {
		return failWith(name, err)
	}
	_ = response.Body.Close()
	after := now()
	server, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return skip(name, "the API server does not send its time")
	}
	return judgeSkew(name, server, before, after)
}

// judgeSkew returns the result for the time of the server, which is cut to seconds, and those of this
// machine before and after it.
func judgeSkew(name string, server, before, after time.Time) result {
	skew := time.Duration(0)
	switch {
	case server.After(after):
		skew = server.Sub(after)
	case server.Add(time.Second).Before(before):
		skew = before.Sub(server.Add(time.Second))
	}
	skew = skew.Round(time.Second)
	const fix = "Let NTP set both clocks. Compare with: date -u"
	switch {
	case skew > maxSkew:
		return fail(name, fix, "the clocks of this machine and of the host differ by %s: certificates and tokens are not valid yet, or no longer", skew)
	case skew > warnSkew:
		return warn(name, fix, "the clocks of this machine and of the host differ by %s", skew)
	}
	return pass(name, "the clocks of this machine and of the host agree")
}

// checkVersion compares the version of the host with the one that the chart needs.
func (t *target) checkVersion(ctx context.Context) result {
	const name = "version"
	info, err := discovery.ToDiscoveryInterfaceWithContext(t.client.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return failWith(name, err)
	}
	actual, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return skip(name, "cannot read the version %q of the host", info.GitVersion)
	}
	least := version.MustParseGeneric(release.LeastHostVersion)
	if actual.LessThan(least) {
		return fail(name, "Upgrade the host.", "the host has Kubernetes %s, and %s is the oldest that works", info.GitVersion, least)
	}
	return pass(name, "the host has Kubernetes %s", info.GitVersion)
}
