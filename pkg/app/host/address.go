package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/api/syncz"
)

const (
	// addressInterval is the polling interval once the address is known. The address rarely
	// changes, so it is polled instead of watched.
	addressInterval = 10 * time.Second
	// newAddressInterval is the polling interval while the address is not known.
	newAddressInterval = 2 * time.Second
)

// Address polls the address at which clients outside of the host reach the virtual API. That is
// the load balancer of its Service, or a node and the node port. It runs on every replica.
type Address struct {
	// Client reaches the host.
	Client kubernetes.Interface
	// Release has the Service and the pods.
	Release release.Release
	// Clock is the time.
	Clock clock.Clock

	mu      sync.Mutex
	server  string   // URL; empty if it is not known
	names   []string // names and IPs that clients may use
	problem string   // error of the last poll; empty if it succeeded
	changed []func()
}

// Run polls the address until ctx ends.
func (a *Address) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		pause := newAddressInterval
		if a.poll(ctx) {
			pause = addressInterval
		}
		select {
		case <-ctx.Done():
		case <-a.Clock.After(pause):
		}
	}
	return nil
}

// Server returns the URL of the virtual API. It is empty while the address is not known.
func (a *Address) Server() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.server
}

// Names returns the names and IPs under which clients may reach the virtual API.
func (a *Address) Names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.names)
}

// OnChange calls f after each change of the server or the names, and at once if they are known already.
func (a *Address) OnChange(f func()) {
	a.mu.Lock()
	a.changed = append(a.changed, f)
	known := a.server != ""
	a.mu.Unlock()
	if known {
		f()
	}
}

// Checks returns the health of the address.
func (a *Address) Checks() []syncz.Check {
	a.mu.Lock()
	defer a.mu.Unlock()
	check := syncz.Check{Name: "address", Healthy: a.problem == "" && a.server != "", Message: "Exported kubeconfigs lead to " + a.server + "."}
	if !check.Healthy {
		check.Message = cmp.Or(a.problem, "The host was not asked yet.")
	}
	return []syncz.Check{check}
}

// poll reads the address from the host and reports whether that succeeded. If not, the last
// known address stays.
func (a *Address) poll(ctx context.Context) (ok bool) {
	server, names, err := a.find(ctx)
	if ctx.Err() != nil {
		return false
	}
	a.mu.Lock()
	if err != nil {
		a.problem = err.Error()
		a.mu.Unlock()
		return false
	}
	a.problem = ""
	isNew := server != a.server || !slices.Equal(names, a.names)
	a.server, a.names = server, names
	changed := slices.Clone(a.changed)
	a.mu.Unlock()
	if isNew {
		klog.InfoS("The virtual API has another address outside of the host", "server", server)
		for _, f := range changed {
			f()
		}
	}
	return true
}

// find returns the URL of the virtual API, and the names and IPs that clients may use, sorted.
func (a *Address) find(ctx context.Context) (server string, names []string, err error) {
	service, err := a.Client.CoreV1().Services(a.Release.Namespace).Get(ctx, a.Release.Service(), metav1.GetOptions{})
	if err != nil {
		return "", nil, wrap(err, "get host Service %s/%s", a.Release.Namespace, a.Release.Service())
	}
	if service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		return ofLoadBalancer(service)
	}
	if len(service.Spec.Ports) == 0 || service.Spec.Ports[0].NodePort == 0 {
		return "", nil, fmt.Errorf("host Service %s/%s has no port of the nodes", a.Release.Namespace, a.Release.Service())
	}
	ready, all, err := a.nodes(ctx)
	if err != nil {
		return "", nil, err
	}
	port := strconv.Itoa(int(service.Spec.Ports[0].NodePort))
	for _, node := range ready {
		if candidate := "https://" + net.JoinHostPort(node, port); server == "" || candidate == a.Server() {
			server = candidate // The current node stays while a replica is ready there.
		}
	}
	if server == "" {
		return "", nil, errors.New("no replica is ready on a node")
	}
	return server, all, nil
}

// ofLoadBalancer returns the URL with the first address of a load balancer, and all its
// addresses, sorted.
func ofLoadBalancer(service *corev1.Service) (server string, names []string, err error) {
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		names = append(names, cmp.Or(ingress.IP, ingress.Hostname))
	}
	if len(names) == 0 {
		return "", nil, errors.New("the load balancer has no address yet")
	}
	server = "https://" + hostOf(names[0])
	slices.Sort(names)
	return server, names, nil
}

// hostOf returns a name or an IP in the form for the host of a URL.
func hostOf(name string) string {
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

// nodes returns the IPs of the nodes on which replicas run. ready has those with a ready
// replica, by ordinal. all has the IPs of all, sorted.
func (a *Address) nodes(ctx context.Context) (ready, all []string, err error) {
	set, err := a.Client.AppsV1().StatefulSets(a.Release.Namespace).Get(ctx, a.Release.StatefulSet(), metav1.GetOptions{})
	if err != nil {
		return nil, nil, wrap(err, "get host StatefulSet %s/%s", a.Release.Namespace, a.Release.StatefulSet())
	}
	replicas := 1
	if set.Spec.Replicas != nil {
		replicas = int(*set.Spec.Replicas)
	}
	for ordinal := range replicas {
		pod, err := a.Client.CoreV1().Pods(a.Release.Namespace).Get(ctx, a.Release.Pod(ordinal), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, nil, wrap(err, "get host pod %s/%s", a.Release.Namespace, a.Release.Pod(ordinal))
		}
		if pod.Status.HostIP == "" {
			continue
		}
		all = append(all, pod.Status.HostIP)
		if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			ready = append(ready, pod.Status.HostIP)
		}
	}
	slices.Sort(all)
	return ready, slices.Compact(all), nil
}
