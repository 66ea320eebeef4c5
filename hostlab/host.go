package host

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Options say which host to start, and where.
type Options struct {
	// Provider is local, kind or existing. Default: local.
	Provider string
	// Dir holds everything that the host is made of. Default: see [DefaultDir].
	Dir string
	// Kubeconfig is the file that provider existing reads. Default: the file that
	// kubectl would read.
	Kubeconfig string
	// Out receives one line per step with the time it took. Default: nowhere.
	Out io.Writer
}

// Cluster is a running host.
type Cluster struct {
	// Kubeconfig is the path of a kubeconfig with all rights.
	Kubeconfig string
	// Server is the URL of the API server.
	Server string
	// Kubectl is a kubectl of the host's version, or the one in PATH.
	Kubectl string
	// NodeIP is an address at which this machine reaches node ports; empty when
	// there is none.
	NodeIP string
	// TestImage and BusyboxImage are images that the nodes can run, see the
	// constants of those names.
	TestImage, BusyboxImage string

	provider provider
}

// A provider starts and stops one sort of host.
type provider interface {
	up(ctx context.Context) (*Cluster, error)
	down(ctx context.Context) error
	// status describes the host in a few lines and says whether it is up.
	status(ctx context.Context) (lines []string, up bool)
	loadImage(ctx context.Context, archive string) error
}

// DefaultDir is $TMPDIR/sublet-host, or /var/tmp/sublet-host.
func DefaultDir() string {
	base := os.Getenv("TMPDIR")
	if base == "" {
		base = "/var/tmp"
	}
	return filepath.Join(base, "sublet-host")
}

// Up starts a host, or whatever of it does not run, and returns when a pod could
// be created on it.
func Up(ctx context.Context, options Options) (*Cluster, error) {
	p, err := options.provider()
	if err != nil {
		return nil, err
	}
	cluster, err := p.up(ctx)
	if err != nil {
		return nil, err
	}
	cluster.provider = p
	return cluster, nil
}

// Down stops the host and removes what it left on the machine. A host that is
// not up is no error. Provider existing leaves its cluster alone.
func Down(ctx context.Context, options Options) error {
	p, err := options.provider()
	if err != nil {
		return err
	}
	return p.down(ctx)
}

// Status writes what runs to options.Out and says whether the host is up.
func Status(ctx context.Context, options Options) (bool, error) {
	p, err := options.provider()
	if err != nil {
		return false, err
	}
	lines, up := p.status(ctx)
	for _, line := range lines {
		if _, err := fmt.Fprintln(options.Out, line); err != nil {
			return up, err
		}
	}
	return up, nil
}

// LoadImage makes the images of an archive available to the host's nodes, under
// the names that the archive gives them. The archive is an OCI layout or a
// `docker save` in a tar file.
func LoadImage(ctx context.Context, options Options, archive string) error {
	p, err := options.provider()
	if err != nil {
		return err
	}
	return p.loadImage(ctx, archive)
}

// LoadImage makes the images of an archive available to the cluster's nodes; see
// the function of that name.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	return c.provider.loadImage(ctx, archive)
}

func (o *Options) provider() (provider, error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Dir == "" {
		o.Dir = DefaultDir()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the folder %s: %w", o.Dir, err)
	}
	steps := &steps{out: o.Out}
	switch o.Provider {
	case "", "local":
		return newLocal(dir, steps), nil
	case "kind":
		return &kind{dir: dir, steps: steps}, nil
	case "existing":
		return &existing{kubeconfig: o.Kubeconfig}, nil
	}
	return nil, fmt.Errorf("unknown provider %q: local, kind or existing", o.Provider)
}
