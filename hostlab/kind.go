package hostlab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
)

// kind is a cluster of kind, which runs nodes in containers of docker.
type kind struct {
	dir   string
	steps *steps
}

const kindName = "sublet-host"

func (k *kind) kubeconfig() string { return filepath.Join(k.dir, "kind.kubeconfig") }

func (k *kind) checkTools() error {
	for _, tool := range []string{"docker", "kind"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("provider kind needs %s in PATH: see https://kind.sigs.k8s.io; as root, provider local needs neither", tool)
		}
	}
	return nil
}

func (k *kind) exists(ctx context.Context) (bool, error) {
	clusters, err := runForOutput(exec.CommandContext(ctx, "kind", "get", "clusters"))
	return slices.Contains(strings.Fields(clusters), kindName), err
}

func (k *kind) up(ctx context.Context) (*Cluster, error) {
	if err := k.checkTools(); err != nil {
		return nil, err
	}
	there, err := k.exists(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{"create", "cluster", "--name", kindName, "--wait", "3m", "--kubeconfig", k.kubeconfig()}
	if there {
		args = []string{"export", "kubeconfig", "--name", kindName, "--kubeconfig", k.kubeconfig()}
	}
	err = k.steps.run("kind "+args[0], func() error {
		_, err := runForOutput(exec.CommandContext(ctx, "kind", args...))
		return err
	})
	if err != nil {
		return nil, err
	}
	cluster, err := readCluster(k.kubeconfig())
	if err != nil {
		return nil, err
	}
	cluster.TestImage, cluster.BusyboxImage = TestImage, BusyboxImage
	return cluster, k.loadOwnImages(ctx)
}

// loadOwnImages builds the images that tests use and loads them.
func (k *kind) loadOwnImages(ctx context.Context) error {
	b := builder{bin: filepath.Join(k.dir, "bin")}
	if err := k.steps.run("build the images of tests", func() error { return b.buildHelpers(ctx) }); err != nil {
		return err
	}
	all, err := ownRecipes(ctx, b.bin)
	if err != nil {
		return err
	}
	file := filepath.Join(k.dir, "images.tar")
	if err := writeImages(file, all); err != nil {
		return err
	}
	return k.steps.run("load the images of tests", func() error { return k.loadImage(ctx, file) })
}

func (k *kind) down(ctx context.Context) error {
	if err := k.checkTools(); err != nil {
		return err
	}
	return k.steps.run("kind delete", func() error {
		_, err := runForOutput(exec.CommandContext(ctx, "kind", "delete", "cluster", "--name", kindName, "--kubeconfig", k.kubeconfig()))
		return err
	})
}

func (k *kind) status(ctx context.Context) ([]string, bool) {
	if err := k.checkTools(); err != nil {
		return []string{err.Error()}, false
	}
	there, err := k.exists(ctx)
	if err != nil || !there {
		return []string{"no cluster " + kindName}, false
	}
	return []string{"cluster     " + kindName, "kubeconfig  " + k.kubeconfig()}, true
}

func (k *kind) loadImage(ctx context.Context, archive string) error {
	_, err := runForOutput(exec.CommandContext(ctx, "kind", "load", "image-archive", archive, "--name", kindName))
	return err
}

// existing is a cluster that somebody else started, and that nobody here stops.
type existing struct {
	kubeconfig string
}

func (e *existing) file() string {
	if e.kubeconfig != "" {
		return e.kubeconfig
	}
	return clientcmd.NewDefaultClientConfigLoadingRules().GetDefaultFilename()
}

func (e *existing) up(context.Context) (*Cluster, error) { return readCluster(e.file()) }

func (e *existing) down(context.Context) error { return nil }

func (e *existing) status(context.Context) ([]string, bool) {
	cluster, err := readCluster(e.file())
	if err != nil {
		return []string{err.Error()}, false
	}
	return []string{"server      " + cluster.Server, "kubeconfig  " + cluster.Kubeconfig}, true
}

func (e *existing) loadImage(context.Context, string) error {
	return errors.New("an existing cluster takes images from its registry only: push there and set controlPlane.statefulSet.image")
}

// readCluster returns the current cluster of a kubeconfig.
func readCluster(file string) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, fmt.Errorf("cannot use kubeconfig %s: %w", file, err)
	}
	return &Cluster{Kubeconfig: file, Server: config.Host, Kubectl: "kubectl"}, nil
}
