package hostlab

// modules returns the modules that the local host is built from, besides our own. The
// versions of Kubernetes, etcd, CoreDNS and metrics-server are those of go.mod.
func modules() []module {
	return []module{
		{
			name: "containerd", path: "github.com/containerd/containerd/v2", version: "v2.4.2",
			tags:     "no_btrfs,no_devmapper,no_zfs,no_aufs",
			ldflags:  "-X github.com/containerd/containerd/v2/version.Version=v2.4.2",
			packages: []string{"./cmd/containerd", "./cmd/containerd-shim-runc-v2", "./cmd/ctr"},
			binaries: []string{"containerd", "containerd-shim-runc-v2", "ctr"},
		},
		{
			name: "runc", path: "github.com/opencontainers/runc", version: "v1.5.2",
			tags:    "seccomp,netgo,osusergo",
			ldflags: "-X main.version=1.5.2 -linkmode external -extldflags=-static",
			// Its first steps in a container are written in C.
			cgo: true, packages: []string{"."}, binaries: []string{"runc"},
		},
	}
}

// Package is a package of Debian.
type Package struct {
	// Name is what apt-get installs.
	Name string
	// File exists if the package is installed.
	File string
}

// packages returns the Debian packages that the local host needs.
func packages() []Package {
	return []Package{
		{"containernetworking-plugins", cniPlugins + "/bridge"},
		{"iptables", "/usr/sbin/iptables"},
		{"nftables", "/usr/sbin/nft"},
		{"iproute2", "/usr/sbin/ip"},
		{"conntrack", "/usr/sbin/conntrack"},
		{"socat", "/usr/bin/socat"},
		{"util-linux", "/usr/bin/nsenter"},
		{"busybox-static", "/bin/busybox"},
		{"gcc", "/usr/bin/gcc"},
		{"libc6-dev", "/usr/include/stdlib.h"},
		{"libseccomp-dev", "/usr/include/seccomp.h"},
		{"pkg-config", "/usr/bin/pkg-config"},
	}
}

const cniPlugins = "/usr/lib/cni"

// Images of the tests. Every local host has the first two. They stand for what a public registry would
// give, which may be out of reach.
const (
	// TestImage holds cmd/testserver as entry point, cmd/testoperator, etcd and busybox.
	TestImage = "localhost/sublet/test:1"
	// BusyboxImage is a shell with the usual tools. "busybox" is the same image.
	BusyboxImage = "localhost/sublet/busybox:1"

	pauseImage = "localhost/sublet/pause:1"
)

// Names and addresses of the local host. They are fixed: one machine carries one.
const (
	nodeName   = "host-1"
	linkName   = "sublet0"
	cgroupName = "sublet-host"

	machineIP    = "10.99.0.1"       // our end of the veth, in the machine's network
	nodeIP       = "10.99.0.2"       // the node's end
	metadataIP   = "169.254.169.254" // of the node too, where clouds have their metadata service
	podCIDR      = "10.244.0.0/16"
	nodePodCIDR  = "10.244.0.0/23"
	nodePodBits  = "23"
	serviceCIDR  = "10.96.0.0/16"
	apiServiceIP = "10.96.0.1"
	dnsServiceIP = "10.96.0.10"
	apiServer    = "https://" + nodeIP + ":6443"
	registryAddr = nodeIP + ":5000"
	metricsPort  = "4443"

	clusterDomain = "cluster.local"

	// outsideName is a name that only the host's DNS knows. With it, a test without
	// internet can resolve a name outside the cluster.
	outsideName = "outside." + outsideDomain
	// outsideDomain is the search domain of the node.
	outsideDomain = "sublet.test"
)
