package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kubecontrolplane "k8s.io/kubernetes/pkg/controlplane"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"
	serviceipallocator "k8s.io/kubernetes/pkg/registry/core/service/ipallocator/controller"
	serviceportallocator "k8s.io/kubernetes/pkg/registry/core/service/portallocator/controller"

	"github.com/sublet-dev/sublet/pkg/controlplane/informers"
)

// addressKeeper maintains what the allocators of Service IPs and node ports need: the default
// ServiceCIDR, and records of the allocated addresses and ports. It uses upstream's controllers.
type addressKeeper struct {
	server *apiServer
	extra  *kubecontrolplane.Extra
}

// tasks returns the tasks of the keeper.
func (k *addressKeeper) tasks() ([]startTask, error) {
	var tasks []startTask
	for _, part := range []struct {
		name string
		run  func(ctx context.Context, client kubernetes.Interface, succeeded func()) error
	}{
		{"service range", k.keepRange},
		{"service addresses", k.repairAddresses},
		{"node ports", k.repairNodePorts},
	} {
		answers := &failureRecorder{}
		client, err := kubernetes.NewForConfig(answers.wrap(k.server.loopback))
		if err != nil {
			return nil, fmt.Errorf("cannot prepare the addresses of Services: %w", err)
		}
		tasks = append(tasks, startTask{
			name: part.name, detail: answers.lastFailure,
			run: func(ctx context.Context, succeeded func()) error { return part.run(ctx, client, succeeded) },
		})
	}
	return tasks, nil
}

// keepRange creates the default ServiceCIDR, and creates it again if a tenant deletes it. Upstream's
// controller retries by itself.
func (k *addressKeeper) keepRange(ctx context.Context, client kubernetes.Interface, succeeded func()) error {
	defaultservicecidr.NewController(k.extra.ServiceIPRange, k.extra.SecondaryServiceIPRange, client).Start(ctx)
	if ctx.Err() == nil {
		succeeded()
	}
	<-ctx.Done()
	return nil
}

// repairAddresses makes the IPAddress objects match the Services. Upstream's controller ends if its
// first attempt fails.
func (k *addressKeeper) repairAddresses(ctx context.Context, client kubernetes.Interface, succeeded func()) error {
	// The gate removes the handlers of a failed attempt.
	shared := informers.NewGated(k.server.informers, k.server.lifetime)
	defer shared.Close()
	shared.Open()
	repair := serviceipallocator.NewRepairIPAddress(k.extra.RepairServicesInterval, client,
		shared.Core().V1().Services(), shared.Networking().V1().ServiceCIDRs(), shared.Networking().V1().IPAddresses())
	repair.RunUntil(succeeded, stopChannel(ctx))
	return errors.New("the first comparison with the Services failed")
}

// repairNodePorts makes the record of node ports match the Services. Upstream's controller would wait
// minutes between two attempts, so it is ended and started again after a failure.
func (k *addressKeeper) repairNodePorts(ctx context.Context, client kubernetes.Interface, succeeded func()) error {
	attempt, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	record := &nodePortRecord{storage: k.server.nodePorts, failed: fail}
	services := reportingServices{client.CoreV1(), fail}
	serviceportallocator.NewRepair(k.extra.RepairServicesInterval, services, client.EventsV1(),
		k.extra.ServiceNodePortRange, record).RunUntil(succeeded, stopChannel(attempt))
	return context.Cause(attempt)
}

// stopChannel returns a channel that is closed when ctx ends, for code that needs a bidirectional
// channel.
func stopChannel(ctx context.Context) chan struct{} {
	stop := make(chan struct{})
	context.AfterFunc(ctx, func() { close(stop) })
	return stop
}

// failureRecorder remembers the last failed write of a client. Upstream's controllers only log it.
type failureRecorder struct {
	mu   sync.Mutex
	text string
}

// wrap returns a copy of a configuration whose clients are recorded.
func (r *failureRecorder) wrap(config *rest.Config) *rest.Config {
	recorded := rest.CopyConfig(config)
	recorded.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			res, err := next.RoundTrip(req)
			if req.Method == http.MethodGet {
				return res, err
			}
			switch {
			case err != nil:
				r.set(fmt.Sprintf("%s %s: %v", req.Method, req.URL.Path, err))
			case res.StatusCode >= http.StatusBadRequest:
				r.set(fmt.Sprintf("%s %s: code %d", req.Method, req.URL.Path, res.StatusCode))
			}
			return res, err
		})
	})
	return recorded
}

// set records a failure.
func (r *failureRecorder) set(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = text
}

// lastFailure returns the last failure, empty for none.
func (r *failureRecorder) lastFailure() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text
}

// roundTripper is a function that sends requests.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// firstAddress returns the address after a network's own.
func firstAddress(network *net.IPNet) net.IP {
	ip := append(net.IP{}, network.IP...)
	for i := len(ip) - 1; i >= 0; i-- {
		if ip[i]++; ip[i] != 0 {
			break
		}
	}
	return ip
}
