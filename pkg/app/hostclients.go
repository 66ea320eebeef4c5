package app

import (
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// This file has all ways of the server to the API server of the host. Each one has its fence and its limit
// from here, so that no other file can send requests without them. A test names them all.

// hostClaims are the clients of a replica that is not the holder yet. Neither has a fence, because they
// are needed to become the holder. Neither has the limit, because a tenant cannot trigger their requests.
// Behind those of a tenant, a holder would see its successor too late.
type hostClaims struct {
	// claims reads the facts of the host, and proves that this replica is the holder.
	claims kubernetes.Interface
	// reports records Events on the anchor, also why this replica is not the holder. It repeats requests that
	// an overloaded host refuses, because the recorder drops an Event that is refused.
	reports kubernetes.Interface

	config *rest.Config
}

// newHostClaims returns the clients of a replica that is not the holder yet.
func newHostClaims(config *rest.Config) (*hostClaims, error) {
	claims, err := kubernetes.NewForConfig(syncer.AnswerOnce(config))
	if err != nil {
		return nil, fmt.Errorf("cannot build a client of the host: %w", err)
	}
	reports, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot build a client of the host: %w", err)
	}
	return &hostClaims{claims: claims, reports: reports, config: config}, nil
}

// hostClients are the clients of a holder.
type hostClients struct {
	// ownClient keeps the release's own objects: Secrets, the anchor, the StatefulSet, the Service. Its writes fail
	// unless this replica is the holder. It has no limit, because no request of a tenant triggers one of its requests.
	ownClient kubernetes.Interface
	// tenantClient sends what a request of a tenant triggers, and returns each error at once. It has the limit.
	// Its writes fail unless this replica is the holder.
	tenantClient kubernetes.Interface
	// host has the limit. Its writes fail unless this replica is the holder.
	host *rest.Config
	// leaderHost has the limit. Its writes fail unless this replica leads or they are host-first.
	leaderHost *rest.Config
}

// open returns the clients of a holder. All that have the limit share it.
func (c *hostClaims) open(leader host.Leader, limiter *syncer.HostLimiter) (*hostClients, error) {
	fenced := host.Fence(c.config, leader.MayWrite)
	own, err := kubernetes.NewForConfig(syncer.AnswerOnce(fenced))
	if err != nil {
		return nil, fmt.Errorf("cannot build a client of the host: %w", err)
	}
	limited := limiter.Wrap(fenced)
	tenant, err := kubernetes.NewForConfig(syncer.AnswerOnce(limited))
	if err != nil {
		return nil, fmt.Errorf("cannot build a client of the host: %w", err)
	}
	return &hostClients{
		ownClient: own, tenantClient: tenant, host: limited, leaderHost: limiter.Wrap(host.FenceLeader(c.config, leader)),
	}, nil
}

// newHostLimiter returns the rate limiter of all requests to the host that a tenant can trigger.
func newHostLimiter(settings v1alpha1.HostClient) *syncer.HostLimiter {
	return syncer.NewHostLimiter(syncer.HostLimits{
		RequestsPerSecond: float64(settings.RequestsPerSecond),
		Burst:             int(settings.Burst),
		BytesPerSecond:    settings.BytesPerSecond.Value(),
	}, clock.RealClock{})
}

// hostConfig returns the client config of the host. It uses protobuf and disables client-go's
// rate limit, which counts only requests. The [syncer.HostLimiter] also limits bytes.
func hostConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the credentials for the host: %w", err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.UserAgent = "sublet/" + version
	return syncer.AnswerInTime(config), nil
}
