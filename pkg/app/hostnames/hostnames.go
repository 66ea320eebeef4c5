// Package hostnames looks up which host names the Ingresses of the host use. It lists them on
// demand instead of watching, because a host may have Ingresses of hundreds of tenants.
package hostnames

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// pageSize is the number of Ingresses that one request lists.
	pageSize = 500
	// perSecond and burst limit the rate of lookups, which tenants can cause.
	perSecond = 2
	burst     = 20
)

// Lister lists the Ingresses of all namespaces of the host. The typed client implements it.
type Lister interface {
	List(ctx context.Context, options metav1.ListOptions) (*networkingv1.IngressList, error)
}

// Names looks up host names of Ingresses.
type Names struct {
	ingresses Lister
	cluster   string
	limiter   flowcontrol.RateLimiter
}

// New returns a Names for the virtual cluster with that UID. Ingresses of the same virtual
// cluster may share host names, as in any cluster.
func New(ingresses Lister, cluster string) *Names {
	return &Names{ingresses: ingresses, cluster: cluster, limiter: flowcontrol.NewTokenBucketRateLimiter(perSecond, burst)}
}

// Taken returns those of hosts that Ingresses of others have, sorted. own is the existing copy
// that has the hosts already, nil if there is none. Taken reads from the host's store and not
// from a cache. So if two create an Ingress at the same moment, at least one sees the other.
func (n *Names) Taken(ctx context.Context, hosts []string, own *networkingv1.Ingress) ([]string, error) {
	if err := n.limiter.Wait(ctx); err != nil {
		return nil, fmt.Errorf("too many lookups of host names: %w", err)
	}
	taken := map[string]bool{}
	for next := ""; ; {
		page, err := n.ingresses.List(ctx, metav1.ListOptions{Limit: pageSize, Continue: next})
		if err != nil {
			return nil, fmt.Errorf("cannot list the Ingresses of the host: %w", err)
		}
		for i := range page.Items {
			other := &page.Items[i]
			if other.Labels[labels.Cluster] == n.cluster {
				continue
			}
			for _, host := range translate.IngressHosts(&other.Spec) {
				if slices.Contains(hosts, host) && (own == nil || beats(other, own, host)) {
					taken[host] = true
				}
			}
		}
		if next = page.Continue; next == "" {
			return slices.Sorted(maps.Keys(taken)), nil
		}
	}
}

// beats reports whether another Ingress keeps a host name that own has too. Ingresses outside of
// virtual clusters keep it, as do those that have claimed it after a lookup. So does own. Otherwise the older
// one keeps it. Both sides come to the same decision.
func beats(other, own *networkingv1.Ingress, host string) bool {
	switch {
	case other.Labels[labels.Cluster] == "" || translate.ClaimsHost(other, host):
		return true
	case translate.ClaimsHost(own, host):
		return false
	case !other.CreationTimestamp.Equal(&own.CreationTimestamp):
		return other.CreationTimestamp.Before(&own.CreationTimestamp)
	}
	return strings.Compare(string(other.UID), string(own.UID)) < 0
}
