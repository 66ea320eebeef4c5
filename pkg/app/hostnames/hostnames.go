// Package hostnames looks up which host names the Ingresses of a host have. It reads them
// when somebody asks, and watches nothing: a host has Ingresses of hundreds of others.
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
	// pageSize is the number of Ingresses in one request.
	pageSize = 500
	// perSecond and burst bound the lookups that a tenant can cause.
	perSecond = 2
	burst     = 20
)

// Lister lists the Ingresses of all namespaces of the host. The typed client implements it.
type Lister interface {
	List(ctx context.Context, options metav1.ListOptions) (*networkingv1.IngressList, error)
}

// Names looks up host names.
type Names struct {
	ingresses Lister
	cluster   string
	limiter   flowcontrol.RateLimiter
}

// New returns a Names for the virtual cluster with that UID. Its own Ingresses take no name
// from each other, as in every cluster.
func New(ingresses Lister, cluster string) *Names {
	return &Names{ingresses: ingresses, cluster: cluster, limiter: flowcontrol.NewTokenBucketRateLimiter(perSecond, burst)}
}

// Taken returns those of hosts that Ingresses of others have, sorted. own is the copy that
// has hosts already, nil for none. It lists from the store of the host, not from a cache.
// Of two that create an Ingress at the same moment, at least one sees the other.
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
				if slices.Contains(hosts, host) && (own == nil || beats(other, own)) {
					taken[host] = true
				}
			}
		}
		if next = page.Continue; next == "" {
			return slices.Sorted(maps.Keys(taken)), nil
		}
	}
}

// beats reports whether another Ingress keeps a host name that own has too. An Ingress that no
// virtual cluster has does, and one that has been looked up. Of two that have not, the
// older one does. Both sides decide alike.
func beats(other, own *networkingv1.Ingress) bool {
	if other.Labels[labels.Cluster] == "" || other.Annotations[labels.ClaimedHosts] != "" {
		return true
	}
	if !other.CreationTimestamp.Equal(&own.CreationTimestamp) {
		return other.CreationTimestamp.Before(&own.CreationTimestamp)
	}
	return strings.Compare(string(other.UID), string(own.UID)) < 0
}
