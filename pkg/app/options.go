package app

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/app/host"
)

// Options identify the release that the process serves, and its ports and files. Everything that
// the operator chooses is in the config file instead.
type Options struct {
	// ConfigFile is the file with the operator's values.
	ConfigFile string
	// Name and Namespace are the release and its host namespace.
	Name, Namespace string
	// HostKubeconfig is the kubeconfig of the host. Empty means that of the pod's
	// service account.
	HostKubeconfig string
	// DataDir holds the store and the facts that allow a start while the host is unavailable.
	DataDir string
	// BindAddress is the IP address that all ports bind to. Empty means all addresses.
	BindAddress string
	// Port serves the virtual API over TLS.
	Port int
	// DNSPort serves DNS over UDP and TCP. Negative means no DNS.
	DNSPort int
	// OperatorPort serves probes, metrics and /syncz to operators of the host. Negative
	// means that nothing does.
	OperatorPort int
	// PeerAddresses are the peer addresses of the store members: pod -> host:port. Outside of
	// a host cluster they replace the DNS names of the pods.
	PeerAddresses map[string]string
	// PeerBindAddress is the host:port that listens for other store members. Empty means the
	// address of this pod in PeerAddresses.
	PeerBindAddress string
	// PodName and PodUID identify the pod of the process. Both are empty outside of a pod.
	PodName, PodUID string
	// Parts names the parts that the process runs. Empty means [allParts].
	Parts []string
	// AdvertiseAddress is the IP address at which pods reach this process. It becomes the
	// endpoint of the virtual Service default/kubernetes.
	AdvertiseAddress string

	// processUID replaces PodUID outside of a pod.
	processUID string
}

// Validate returns all invalid options in one error.
func (o *Options) Validate() error {
	var errs []error
	for flag, value := range map[string]string{"--config": o.ConfigFile, "--name": o.Name, "--namespace": o.Namespace, "--data-dir": o.DataDir} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s must be set", flag))
		}
	}
	if o.Port < 0 || o.Port > 65535 {
		errs = append(errs, fmt.Errorf("--port: %d is not a port between 0 and 65535 (0 takes a free one)", o.Port))
	}
	if o.DNSPort > 65535 {
		errs = append(errs, fmt.Errorf("--dns-port: %d is not a port up to 65535 (-1 switches DNS off)", o.DNSPort))
	}
	if o.OperatorPort > 65535 {
		errs = append(errs, fmt.Errorf("--operator-port: %d is not a port up to 65535 (-1 switches it off)", o.OperatorPort))
	}
	if (o.PodName == "") != (o.PodUID == "") {
		errs = append(errs, errors.New("--pod-name and --pod-uid must both be set or both be empty"))
	}
	if err := o.checkParts(); err != nil {
		errs = append(errs, err)
	}
	for flag, value := range map[string]string{"--bind-address": o.BindAddress, "--advertise-address": o.AdvertiseAddress} {
		if value != "" && net.ParseIP(value) == nil {
			errs = append(errs, fmt.Errorf("%s: %q is not an IP address", flag, value))
		}
	}
	return errors.Join(errs...)
}

func (o *Options) names() release.Release {
	return release.Release{Name: o.Name, Namespace: o.Namespace}
}

// identity returns the identity of the process among the replicas. Outside of a pod it has the
// name of the pod with ordinal 0.
func (o *Options) identity() host.Identity {
	if o.PodName == "" {
		return host.Identity{Pod: o.names().Pod(0), UID: o.processUID}
	}
	return host.Identity{Pod: o.PodName, UID: o.PodUID, InPod: true}
}

func (o *Options) apiAddress() string {
	if !o.servesAPI() {
		return net.JoinHostPort(loopbackAddress, strconv.Itoa(o.Port))
	}
	return net.JoinHostPort(o.BindAddress, strconv.Itoa(o.Port))
}

func (o *Options) operatorAddress() string {
	return net.JoinHostPort(o.BindAddress, strconv.Itoa(o.OperatorPort))
}

func (o *Options) dnsAddress() string {
	return net.JoinHostPort(o.BindAddress, strconv.Itoa(o.DNSPort))
}
