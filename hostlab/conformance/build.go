package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Suite is the conformance suite with the programs and files that it needs.
type Suite struct {
	// Dir is the folder of everything that is built.
	Dir string
	// Version is that of Kubernetes.
	Version string
}

// New returns the suite of the version of Kubernetes in go.mod of the current folder.
func New(ctx context.Context, dir string) (*Suite, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find folder %s: %w", dir, err)
	}
	version, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"))
	if err != nil {
		return nil, fmt.Errorf("cannot find the version of Kubernetes: %w", err)
	}
	return &Suite{Dir: dir, Version: strings.TrimSpace(version)}, nil
}

// programs returns the Go packages of the programs that images and runs need, each with
// the name of its binary.
func programs() map[string]string {
	const images = "k8s.io/kubernetes/test/images/"
	return map[string]string{
		"agnhost":          images + "agnhost",
		"nnp":              images + "nonewprivs",
		"consumer":         images + "resource-consumer",
		"consume-cpu":      images + "resource-consumer/consume-cpu",
		"pause":            "./hostlab/cmd/pause",
		"sample-apiserver": "k8s.io/sample-apiserver",
		"etcd":             "go.etcd.io/etcd/server/v3",
		"ginkgo":           "github.com/onsi/ginkgo/v2/ginkgo",
	}
}

// Build builds the suite and the programs of the images. What is built from the same
// go.mod already is not built again.
func (s *Suite) Build(ctx context.Context) error {
	if err := os.MkdirAll(s.path("bin"), 0o755); err != nil {
		return err
	}
	modfile, state, err := s.copyModfile()
	if err != nil {
		return err
	}
	if s.isBuilt(state) {
		return nil
	}
	if _, err := output(exec.CommandContext(ctx, "go", "mod", "edit", "-require="+sampleServer(s.Version), modfile)); err != nil {
		return fmt.Errorf("cannot edit %s: %w", modfile, err)
	}
	flags := []string{"-modfile", modfile, "-mod=mod", "-ldflags", versionFlags(s.Version)}
	for name, path := range programs() {
		if err := s.compile(ctx, name, append([]string{"build"}, flags...), path); err != nil {
			return err
		}
	}
	// The suite is the test of a package.
	if err := s.compile(ctx, "e2e.test", append([]string{"test", "-c"}, flags...), "k8s.io/kubernetes/test/e2e"); err != nil {
		return err
	}
	return os.WriteFile(s.stamp(), []byte(state), 0o644)
}

// compile builds one binary.
func (s *Suite) compile(ctx context.Context, name string, args []string, path string) error {
	if _, err := output(exec.CommandContext(ctx, "go", append(args, "-o", s.path("bin", name), path)...)); err != nil {
		return fmt.Errorf("cannot build %s: %w", name, err)
	}
	return nil
}

// copyModfile copies go.mod and go.sum to the folder of the suite and returns the copy
// and its content. The copy gets the checksums of the few modules that only the suite
// needs. So the versions are always those of go.mod, which stays as it is.
func (s *Suite) copyModfile() (path, state string, err error) {
	path = s.path("go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", "", fmt.Errorf("cannot read %s; run this at the top of the checkout: %w", name, err)
		}
		if err := os.WriteFile(s.path(name), data, 0o644); err != nil {
			return "", "", err
		}
		state += string(data)
	}
	return path, state, nil
}

// sampleServer returns the module of the sample API server at the version that belongs to a
// version of Kubernetes. The suite alone needs it, and Kubernetes requires it without a version.
func sampleServer(version string) string {
	return "k8s.io/sample-apiserver@v0." + strings.TrimPrefix(version, "v1.")
}

func (s *Suite) isBuilt(state string) bool {
	before, err := os.ReadFile(s.stamp())
	return err == nil && string(before) == state
}

func (s *Suite) stamp() string { return s.path("bin", ".stamp") }

// path returns the path of a file of the suite.
func (s *Suite) path(elements ...string) string {
	return filepath.Join(append([]string{s.Dir}, elements...)...)
}

// versionFlags returns the linker flags that give the programs the version of Kubernetes.
func versionFlags(version string) string {
	minor := strings.Split(version+"..", ".")[1]
	const set = " -X k8s.io/component-base/version."
	return "-s -w" + set + "gitVersion=" + version + set + "gitMajor=1" + set + "gitMinor=" + minor + set + "gitTreeState=clean"
}

// output returns what a command wrote to its standard output. An error quotes the rest.
func output(command *exec.Cmd) (string, error) {
	out, err := command.Output()
	if err == nil {
		return string(out), nil
	}
	err = fmt.Errorf("%s: %w", filepath.Base(command.Path), err)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}
