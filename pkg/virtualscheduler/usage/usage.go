// Package usage adds up the requests of foreign pods per node of the host. A virtual
// node then offers what is left.
//
// Of a foreign pod it reads the name, the node, the resources of containers, and the
// conditions of a resize. All other fields are skipped before the pod is decoded, so no
// value of its environment is ever held. It keeps the node and the sums of the requests, a few
// hundred bytes. Of a node it keeps one sum per resource. An event of a pod subtracts its former
// share and adds the new one, whatever else runs on the node. The watch shows only
// pods that have a node and are not finished, and none of this virtual cluster. A
// pod appears when it is bound and vanishes when it finishes.
//
// Each change that is published is a write to the node of every tenant. So the sums are
// published in steps: at once if they have changed by a twentieth of the node, otherwise
// after some seconds.
package usage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/labels"
)

const (
	// largeChangeDelay is how long a large change waits, so that many pods that start at once are
	// published together.
	largeChangeDelay = 250 * time.Millisecond
	// smallChangeDelay is how long a small change waits.
	smallChangeDelay = 5 * time.Second
	// largePart is the part of a node that makes a change large: one twentieth.
	largePart = 20
)

// Options configure a [Usage].
type Options struct {
	// Host leads to the host, with an account that may list and watch pods in all
	// namespaces.
	Host *rest.Config
	// Cluster is the UID of this virtual cluster, whose pods do not count.
	Cluster string
	// Changed is called when the published usage of a node has changed. It is also
	// called for each node that [Usage.Foreign] was asked about too early. Default: none.
	Changed func(node string)
	// Clock is the time. Default: the real one.
	Clock clock.WithTicker
}

// Usage holds what others use of the host's nodes.
type Usage struct {
	options Options
	woken   chan struct{}

	mu    sync.RWMutex
	known bool // the first complete list has been seen
	pods  map[string]share
	nodes map[string]*nodeUsage
	// early has the nodes that Foreign was asked about before usage was known.
	early map[string]struct{}
}

// sums has the requests of many pods: thousandths of cpu, units of all others.
type sums map[corev1.ResourceName]int64

// nodeUsage is the usage of one node.
type nodeUsage struct {
	live        sums // of all pods
	published   sums // the result of Foreign
	allocatable sums // of the host node, nil until Foreign gets it
	// since is when the oldest change that is not published came, zero if none.
	since time.Time
}

// share is what one pod takes of its node.
type share struct {
	node    unique.Handle[string]
	amounts []amount
}

// amount is a quantity of one resource, in the unit of [sums].
type amount struct {
	name  unique.Handle[corev1.ResourceName]
	value int64
}

// New returns a Usage that knows nothing before Run.
func New(options Options) *Usage {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Changed == nil {
		options.Changed = func(string) {}
	}
	return &Usage{
		options: options, woken: make(chan struct{}, 1),
		pods: map[string]share{}, nodes: map[string]*nodeUsage{}, early: map[string]struct{}{},
	}
}

// Run watches the host until ctx ends. It retries while the host cannot be reached.
func (u *Usage) Run(ctx context.Context) error {
	host, err := newClient(u.options.Host)
	if err != nil {
		return fmt.Errorf("cannot read the pods of others: %w", err)
	}
	selectForeign := func(options *metav1.ListOptions) {
		options.LabelSelector = labels.Cluster + "!=" + u.options.Cluster
		options.FieldSelector = fields.AndSelectors(
			fields.OneTermNotEqualSelector("spec.nodeName", ""),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
		).String()
	}
	watch := cache.NewFilteredListWatchFromClient(host, "pods", metav1.NamespaceAll, selectForeign)
	reflector := cache.NewReflectorWithOptions(watch, &corev1.Pod{}, sink{u}, cache.ReflectorOptions{Name: "pods of others"})
	var publisher sync.WaitGroup
	publisher.Go(func() { u.publish(ctx) })
	reflector.RunWithContext(ctx)
	publisher.Wait()
	return nil
}

// Foreign returns what others use of a node, as last published. allocatable is the
// host node's: the size of the steps follows it. ok is false as long as the usage is
// unknown; Changed is called for the node once it is known.
func (u *Usage) Foreign(node string, allocatable corev1.ResourceList) (requests corev1.ResourceList, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.known {
		u.early[node] = struct{}{}
		return nil, false
	}
	n := u.nodes[node]
	if n == nil {
		return corev1.ResourceList{}, true
	}
	n.allocatable = sumsOf(allocatable)
	list := make(corev1.ResourceList, len(n.published))
	for name, value := range n.published {
		if name == corev1.ResourceCPU {
			list[name] = *resource.NewMilliQuantity(value, resource.DecimalSI)
		} else {
			list[name] = *resource.NewQuantity(value, resource.DecimalSI)
		}
	}
	return list, true
}

// sumsOf returns a list of resources in the unit of [sums].
func sumsOf(list corev1.ResourceList) sums {
	s := make(sums, len(list))
	for name, quantity := range list {
		s[name] = units(name, quantity)
	}
	return s
}

// publish publishes changes when they are due, until ctx ends.
func (u *Usage) publish(ctx context.Context) {
	timer := u.options.Clock.NewTimer(smallChangeDelay)
	defer timer.Stop()
	for {
		next := u.publishDue()
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-u.woken:
		case <-timer.C():
		}
	}
}

// publishDue publishes the nodes whose changes are due. It returns the time until
// the next one is.
func (u *Usage) publishDue() time.Duration {
	nodes, next := u.takeDue()
	for _, node := range nodes {
		u.options.Changed(node)
	}
	return next
}

// takeDue marks the due changes as published and returns their nodes.
func (u *Usage) takeDue() (nodes []string, next time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	next = smallChangeDelay
	if !u.known {
		return nil, next
	}
	for node := range u.early {
		nodes = append(nodes, node)
	}
	clear(u.early)
	now := u.options.Clock.Now()
	for node, n := range u.nodes {
		if n.since.IsZero() {
			continue
		}
		if wait := n.publishTime().Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		if !maps.Equal(n.published, n.live) && !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
		n.published, n.since = maps.Clone(n.live), time.Time{}
		if len(n.live) == 0 {
			delete(u.nodes, node)
		}
	}
	return nodes, next
}

// publishTime returns when the changes of the node are to be published.
func (n *nodeUsage) publishTime() time.Time {
	if n.hasLargeChange() {
		return n.since.Add(largeChangeDelay)
	}
	return n.since.Add(smallChangeDelay)
}

// hasLargeChange reports whether a sum has changed by a large part of the node since
// it was published. Of a node whose size is unknown, each change is large.
func (n *nodeUsage) hasLargeChange() bool {
	if n.allocatable == nil {
		return true
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(n.live)), slices.Collect(maps.Keys(n.published))) {
		change := n.live[name] - n.published[name]
		if max(change, -change)*largePart >= n.allocatable[name] && change != 0 {
			return true
		}
	}
	return false
}

// set puts the share of a pod into the sums, in the place of its former one.
func (u *Usage) set(key string, next share) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, ok := u.pods[key]; ok {
		if equalShare(before, next) {
			return
		}
		u.count(before, -1)
	}
	u.pods[key] = next
	u.count(next, 1)
}

// removePod takes the share of a pod out of the sums.
func (u *Usage) removePod(key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, ok := u.pods[key]; ok {
		u.count(before, -1)
		delete(u.pods, key)
	}
}

// replace sets the shares of all pods.
func (u *Usage) replace(all map[string]share) {
	for _, key := range u.missingFrom(all) {
		u.removePod(key)
	}
	for key, next := range all {
		u.set(key, next)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known = true
	u.wakePublisher()
}

// missingFrom returns the pods that are not among all.
func (u *Usage) missingFrom(all map[string]share) []string {
	u.mu.RLock()
	defer u.mu.RUnlock()
	var gone []string
	for key := range u.pods {
		if _, ok := all[key]; !ok {
			gone = append(gone, key)
		}
	}
	return gone
}

// count adds a share to the sums of its node, or subtracts it. The caller holds the
// lock.
func (u *Usage) count(s share, sign int64) {
	node := s.node.Value()
	n := u.nodes[node]
	if n == nil {
		n = &nodeUsage{live: sums{}}
		u.nodes[node] = n
	}
	for _, a := range s.amounts {
		name := a.name.Value()
		if sum := n.live[name] + sign*a.value; sum != 0 {
			n.live[name] = sum
		} else {
			delete(n.live, name)
		}
	}
	if n.since.IsZero() {
		n.since = u.options.Clock.Now()
	}
	u.wakePublisher()
}

// wakePublisher lets the publisher look again.
func (u *Usage) wakePublisher() {
	select {
	case u.woken <- struct{}{}:
	default:
	}
}

// equalShare reports whether two shares take the same of the same node.
func equalShare(a, b share) bool {
	return a.node == b.node && slices.Equal(a.amounts, b.amounts)
}
