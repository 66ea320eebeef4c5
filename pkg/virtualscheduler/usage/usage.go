// Package usage knows what the pods of others ask of each node of the host, so
// that a virtual node can offer what is left.
//
// Of a foreign pod it keeps the node and the sums of its requests, a few hundred
// bytes, and of a node one sum per resource. An event of a pod takes its former
// share out of the sum and puts the new one in, whatever the node holds
// otherwise. The host sends only pods that are on a node and have not ended, and
// none of this virtual cluster: when a pod is bound, the watch tells that it
// appears, and when it ends, that it vanishes.
package usage

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/labels"
)

// gather is how long changes of a node are gathered before it is said to have
// changed: a node on which many pods start at once is written once.
const gather = 250 * time.Millisecond

// Options says whose usage is watched.
type Options struct {
	// Host is a client of the host that may list and watch pods in all namespaces.
	Host kubernetes.Interface
	// Cluster is the UID of this virtual cluster, whose pods do not count.
	Cluster string
	// Changed is called when what others use of a node has changed, and for every
	// node when all is known for the first time. Default: nobody is told.
	Changed func(node string)
	// Clock is the time. Default: the real one.
	Clock clock.Clock
}

// Usage is what others use of the host's nodes. [New] makes one.
type Usage struct {
	options Options
	stir    chan struct{}

	mu      sync.RWMutex
	known   bool
	pods    map[string]share
	nodes   map[string]map[corev1.ResourceName]int64
	names   map[corev1.ResourceName]corev1.ResourceName // each name once in memory
	changed map[string]bool
}

// share is what one pod takes of its node.
type share struct {
	node    string
	amounts []amount
}

// amount is a quantity of one resource: thousandths of cpu, units of all others.
type amount struct {
	name  corev1.ResourceName
	value int64
}

// New makes a Usage. It knows nothing before Run.
func New(options Options) *Usage {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Changed == nil {
		options.Changed = func(string) {}
	}
	return &Usage{
		options: options, stir: make(chan struct{}, 1),
		pods:    map[string]share{},
		nodes:   map[string]map[corev1.ResourceName]int64{},
		names:   map[corev1.ResourceName]corev1.ResourceName{},
		changed: map[string]bool{},
	}
}

// Run watches the host until ctx ends. It goes on trying when the host cannot be
// reached.
func (u *Usage) Run(ctx context.Context) error {
	foreign := func(options *metav1.ListOptions) {
		options.LabelSelector = labels.Cluster + "!=" + u.options.Cluster
		options.FieldSelector = fields.AndSelectors(
			fields.OneTermNotEqualSelector("spec.nodeName", ""),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
		).String()
	}
	watch := cache.NewFilteredListWatchFromClient(u.options.Host.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, foreign)
	reflector := cache.NewReflectorWithOptions(watch, &corev1.Pod{}, sink{u}, cache.ReflectorOptions{Name: "pods of others"})
	var telling sync.WaitGroup
	telling.Go(func() { u.tell(ctx) })
	reflector.RunWithContext(ctx)
	telling.Wait()
	return nil
}

// Foreign is what others use of a node. It is false as long as that is unknown.
func (u *Usage) Foreign(node string) (corev1.ResourceList, bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if !u.known {
		return nil, false
	}
	list := make(corev1.ResourceList, len(u.nodes[node]))
	for name, value := range u.nodes[node] {
		if name == corev1.ResourceCPU {
			list[name] = *resource.NewMilliQuantity(value, resource.DecimalSI)
		} else {
			list[name] = *resource.NewQuantity(value, resource.DecimalSI)
		}
	}
	return list, true
}

// tell calls Changed, once for all changes of a node that come close together.
func (u *Usage) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.stir:
		}
		select {
		case <-ctx.Done():
			return
		case <-u.options.Clock.After(gather):
		}
		u.mu.Lock()
		nodes := slices.Collect(maps.Keys(u.changed))
		clear(u.changed)
		u.mu.Unlock()
		for _, node := range nodes {
			u.options.Changed(node)
		}
	}
}

// set puts the share of a pod into the sums, in the place of its former one.
func (u *Usage) set(key string, next share) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, there := u.pods[key]; there {
		if same(before, next) {
			return
		}
		u.count(before, -1)
	}
	u.pods[key] = u.intern(next)
	u.count(next, 1)
}

// drop takes the share of a pod out of the sums.
func (u *Usage) drop(key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, there := u.pods[key]; there {
		u.count(before, -1)
		delete(u.pods, key)
	}
}

// replace is the state of all pods.
func (u *Usage) replace(all map[string]share) {
	for _, key := range u.without(all) {
		u.drop(key)
	}
	for key, next := range all {
		u.set(key, next)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known = true
}

// without are the pods that are not among all.
func (u *Usage) without(all map[string]share) []string {
	u.mu.RLock()
	defer u.mu.RUnlock()
	var gone []string
	for key := range u.pods {
		if _, there := all[key]; !there {
			gone = append(gone, key)
		}
	}
	return gone
}

// count adds a share to the sums of its node, or takes it away. The caller holds
// the lock.
func (u *Usage) count(s share, sign int64) {
	sums := u.nodes[s.node]
	if sums == nil {
		sums = map[corev1.ResourceName]int64{}
		u.nodes[s.node] = sums
	}
	for _, a := range s.amounts {
		if sum := sums[a.name] + sign*a.value; sum != 0 {
			sums[u.name(a.name)] = sum
		} else {
			delete(sums, a.name)
		}
	}
	if len(sums) == 0 {
		delete(u.nodes, s.node)
	}
	u.changed[s.node] = true
	select {
	case u.stir <- struct{}{}:
	default:
	}
}

// intern is the share with names that are held once, and not by the message that
// the pod came in.
func (u *Usage) intern(s share) share {
	amounts := make([]amount, len(s.amounts))
	for i, a := range s.amounts {
		amounts[i] = amount{u.name(a.name), a.value}
	}
	return share{string(u.name(corev1.ResourceName(s.node))), amounts}
}

func (u *Usage) name(name corev1.ResourceName) corev1.ResourceName {
	if held, there := u.names[name]; there {
		return held
	}
	u.names[name] = name
	return name
}

func same(a, b share) bool {
	return a.node == b.node && slices.Equal(a.amounts, b.amounts)
}
