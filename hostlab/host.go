package hostlab

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Options configures a [Host].
type Options struct {
	// Provider is local, kind or existing. Default: local.
	Provider string
	// Dir is the folder of all files of the host. Default: see [DefaultDir].
	Dir string
	// Kubeconfig is the file that provider existing reads. Default: the file that
	// kubectl would read.
	Kubeconfig string
	// DualStack gives a new local host IPv6 in addition to IPv4. Default: false.
	DualStack bool
	// Out receives one line per step, with its duration. Default: nowhere.
	Out io.Writer
}

// Host is a host cluster that may be up or down. Its state is on the machine: two
// values with the same options are the same host.
type Host struct {
	provider provider
	dir      string
	steps    *steps
}

// Cluster is a running host.
type Cluster struct {
	// Kubeconfig is the path of a kubeconfig with all permissions.
	Kubeconfig string
	// Server is the URL of the API server.
	Server string
	// Kubectl is a kubectl of the host's version, or the one in PATH.
	Kubectl string
	// NodeIP is an address at which this machine reaches node ports. It is empty if
	// there is none.
	NodeIP string
	// TestImage and BusyboxImage are images that the nodes can run, see the
	// constants of those names.
	TestImage, BusyboxImage string
}

// provider starts and stops one sort of host.
type provider interface {
	up(ctx context.Context) (*Cluster, error)
	down(ctx context.Context) error
	// status returns a few lines about the host, and whether it is up.
	status(ctx context.Context) (lines []string, up bool)
	loadImage(ctx context.Context, archive string) error
}

// DefaultDir returns $TMPDIR/sublet-host, or /var/tmp/sublet-host.
func DefaultDir() string {
	base := os.Getenv("TMPDIR")
	if base == "" {
		base = "/var/tmp"
	}
	return filepath.Join(base, "sublet-host")
}

// New returns the host that the options describe. It starts nothing.
func New(options Options) (*Host, error) {
	out := options.Out
	if out == nil {
		out = io.Discard
	}
	dir := options.Dir
	if dir == "" {
		dir = DefaultDir()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find folder %s: %w", options.Dir, err)
	}
	steps := &steps{out: out}
	switch options.Provider {
	case "", "local":
		return &Host{provider: newLocal(dir, steps, options.DualStack), dir: dir, steps: steps}, nil
	case "kind":
		return &Host{provider: &kind{dir: dir, steps: steps}, dir: dir, steps: steps}, nil
	case "existing":
		return &Host{provider: &existing{kubeconfig: options.Kubeconfig}, dir: dir, steps: steps}, nil
	}
	return nil, fmt.Errorf("unknown provider %q: use local, kind or existing", options.Provider)
}

// Up starts the parts of the host that do not run. It returns when the host can run
// pods.
func (h *Host) Up(ctx context.Context) (*Cluster, error) { return h.provider.up(ctx) }

// Down stops the host and removes what it has changed on the machine. It is no error
// if the host is not up. Provider existing does not stop its cluster.
func (h *Host) Down(ctx context.Context) error { return h.provider.down(ctx) }

// Status writes the state of each part to Options.Out, and reports whether the host is
// up.
func (h *Host) Status(ctx context.Context) (bool, error) {
	lines, up := h.provider.status(ctx)
	for _, line := range lines {
		if _, err := fmt.Fprintln(h.steps.out, line); err != nil {
			return up, err
		}
	}
	return up, nil
}

// LoadImage loads the images of an archive into the host's nodes, under their names in
// the archive. The archive is an OCI layout or a `docker save` in a tar file.
func (h *Host) LoadImage(ctx context.Context, archive string) error {
	return h.provider.loadImage(ctx, archive)
}
