package hostlab

import (
	"context"
	"fmt"
	"os/exec"

	"sigs.k8s.io/yaml"
)

// A daemon is a long-running program of the host.
type daemon struct {
	name    string
	program string // in the host's bin folder
	args    []string
}

// startDaemon starts a daemon in the node's namespaces.
func (l *local) startDaemon(d daemon) error {
	// The context must not end the daemon: it outlives the one who starts it.
	command := l.nodeCommand(context.Background(), l.binary(d.program), d.args...)
	command.Env = l.environment()
	return l.daemons.start(d.name, command)
}

// hostd returns a daemon that is part of the binary hostd.
func hostd(name string, args ...string) daemon {
	return daemon{name: name, program: "hostd", args: append([]string{name}, args...)}
}

// etcd stores the host's objects. It skips fsync, because nobody needs the host after a power
// loss.
func (l *local) etcd() (daemon, error) {
	const client, peer = "https://127.0.0.1:2379", "https://127.0.0.1:2380"
	tls := map[string]any{
		"cert-file": l.pki.file("etcd.crt"), "key-file": l.pki.file("etcd.key"),
		"trusted-ca-file": l.pki.file("etcd-ca.crt"), "client-cert-auth": true,
	}
	config, err := yaml.Marshal(map[string]any{
		"name":                        nodeName,
		"data-dir":                    l.path("state", "etcd"),
		"listen-client-urls":          client,
		"advertise-client-urls":       client,
		"listen-peer-urls":            peer,
		"initial-advertise-peer-urls": peer,
		"initial-cluster":             nodeName + "=" + peer,
		"client-transport-security":   tls,
		"peer-transport-security":     tls,
		// The gateway would call etcd with the serving certificate, which is no client
		// certificate.
		"enable-grpc-gateway": false,
		"unsafe-no-fsync":     true,
		"quota-backend-bytes": 4 << 30,
		"logger":              "zap",
		"log-level":           "warn",
	})
	if err != nil {
		return daemon{}, err
	}
	file := l.path("run", "etcd.yaml")
	return hostd("etcd", "--config-file="+file), writeChanged(file, config)
}

func (l *local) apiServer() (daemon, error) {
	audit, err := l.auditFlags()
	return hostd("kube-apiserver", append(audit,
		"--etcd-servers=https://127.0.0.1:2379",
		"--etcd-cafile="+l.pki.file("etcd-ca.crt"),
		"--etcd-certfile="+l.pki.file("apiserver-etcd.crt"),
		"--etcd-keyfile="+l.pki.file("apiserver-etcd.key"),
		"--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address="+nodeIP,
		"--service-cluster-ip-range="+l.inFamilies(serviceCIDR, serviceCIDRv6),
		"--tls-cert-file="+l.pki.file("apiserver.crt"),
		"--tls-private-key-file="+l.pki.file("apiserver.key"),
		"--client-ca-file="+l.pki.file("ca.crt"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc."+clusterDomain,
		"--service-account-key-file="+l.pki.file("sa.pub"),
		"--service-account-signing-key-file="+l.pki.file("sa.key"),
		"--kubelet-certificate-authority="+l.pki.file("ca.crt"),
		"--kubelet-client-certificate="+l.pki.file("apiserver-kubelet.crt"),
		"--kubelet-client-key="+l.pki.file("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+l.pki.file("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+l.pki.file("front-proxy-client.crt"),
		"--proxy-client-key-file="+l.pki.file("front-proxy-client.key"),
		"--enable-aggregator-routing=true",
	)...), err
}

// controlLoopDaemons returns the controller manager and the scheduler. Their client limits
// are raised, so that a burst of pods measures Sublet and not the host.
func (l *local) controlLoopDaemons() []daemon {
	common := func(user string) []string {
		config := l.pki.kubeconfig(user)
		return []string{
			"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--bind-address=127.0.0.1", "--leader-elect=false",
			"--tls-cert-file=" + l.pki.file("loopback.crt"), "--tls-private-key-file=" + l.pki.file("loopback.key"),
			"--kube-api-qps=500", "--kube-api-burst=1000",
		}
	}
	return []daemon{
		hostd("kube-controller-manager", append(common("kcm"),
			"--use-service-account-credentials=true",
			"--service-account-private-key-file="+l.pki.file("sa.key"),
			"--root-ca-file="+l.pki.file("ca.crt"),
			"--client-ca-file="+l.pki.file("ca.crt"),
			"--requestheader-client-ca-file="+l.pki.file("front-proxy-ca.crt"),
			"--cluster-signing-cert-file="+l.pki.file("ca.crt"),
			"--cluster-signing-key-file="+l.pki.file("ca.key"),
			"--allocate-node-cidrs=true", "--cluster-cidr="+l.inFamilies(podCIDR, podCIDRv6), l.nodeRangeFlag(),
			"--service-cluster-ip-range="+l.inFamilies(serviceCIDR, serviceCIDRv6),
		)...),
		hostd("kube-scheduler", common("scheduler")...),
	}
}

// coreDNS serves the Service kube-dns, from a process on the node. The node reaches nothing outside
// of the machine, so outside names do not exist, except for one that tests query.
func (l *local) coreDNS() (daemon, error) {
	file := l.path("run", "Corefile")
	text := fmt.Sprintf(`%[1]s in-addr.arpa ip6.arpa {
    bind %[2]s
    errors
    kubernetes {
        kubeconfig %[3]s
        pods insecure
        ttl 5
    }
    cache 5
    loadbalance
}
%[4]s {
    bind %[2]s
    errors
    hosts {
        %[5]s %[4]s
    }
}
. {
    bind %[2]s
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
`, clusterDomain, nodeIP, l.pki.kubeconfig("coredns"), outsideName, machineIP)
	return hostd("coredns", "-conf", file), writeChanged(file, []byte(text))
}

// registry serves the loaded images, so that pods which always pull find them.
func (l *local) registry() daemon {
	return hostd("registry", "--address="+registryAddr, "--dir="+l.path("state", "registry"))
}

// metricsServer measures the node's pods, behind a Service without selector. It reads no
// object of the API server at its start, so it never ends because one is not there yet.
func (l *local) metricsServer() (daemon, error) {
	config := l.pki.kubeconfig("metrics-server")
	return hostd("metrics-server",
		"--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config,
		"--bind-address="+nodeIP, "--secure-port="+metricsPort,
		"--tls-cert-file="+l.pki.file("loopback.crt"), "--tls-private-key-file="+l.pki.file("loopback.key"),
		"--authentication-skip-lookup=true",
		"--client-ca-file="+l.pki.file("ca.crt"),
		"--requestheader-client-ca-file="+l.pki.file("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--kubelet-certificate-authority="+l.pki.file("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-use-node-status-port",
		// The shortest that it takes.
		"--metric-resolution=10s", "--kubelet-request-timeout=5s",
	), nil
}

// ctr returns containerd's own client, inside the namespace that the kubelet uses.
func (l *local) ctr(ctx context.Context, args ...string) *exec.Cmd {
	return l.nodeCommand(ctx, l.binary("ctr"), append([]string{"--address", l.containerdSocket(), "--namespace", "k8s.io"}, args...)...)
}
