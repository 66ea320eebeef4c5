package hostlab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	// ownModule is the module that this package belongs to.
	ownModule        = "github.com/sublet-dev/sublet"
	kubernetesModule = "k8s.io/kubernetes"
)

// module is a program of others. It is built from the module proxy in a tree of its own,
// with its own go.mod and the versions that its authors chose.
type module struct {
	name, path, version string
	tags, ldflags       string
	cgo                 bool
	packages, binaries  []string
	// files replaces files of the module: path -> content.
	files map[string]string
}

// builder builds programs into bin. A stamp next to each program records its sources, so
// that a program is built again only if its version changed.
type builder struct {
	bin, src string
}

// buildHelpers builds the small programs of this module, which go into images and
// namespaces.
func (b builder) buildHelpers(ctx context.Context) error {
	s, err := b.sources(ctx)
	if err != nil {
		return err
	}
	args := []string{"build", "-ldflags", "-s -w", "-o", b.bin + "/"}
	for _, name := range []string{"holder", "netpol", "pause", "testoperator", "testserver", "volumes"} {
		args = append(args, s.programFolder(name))
	}
	if _, err := runForOutput(b.command(ctx, s.root, args...)); err != nil {
		return fmt.Errorf("cannot build the helpers of the host: %w", err)
	}
	args = []string{"build", "-ldflags", "-s -w", "-o", filepath.Join(b.bin, "etcd"), "go.etcd.io/etcd/server/v3"}
	if _, err := runForOutput(b.command(ctx, s.root, args...)); err != nil {
		return fmt.Errorf("cannot build etcd for the test image: %w", err)
	}
	return nil
}

// buildHostd builds the binary of that name.
func (b builder) buildHostd(ctx context.Context) error {
	s, err := b.sources(ctx)
	if err != nil {
		return err
	}
	args := []string{"build", "-ldflags", versionFlags(s.kubernetes), "-o", filepath.Join(b.bin, "hostd"), s.programFolder("hostd")}
	state, err := digestFiles(filepath.Join(s.root, "go.mod"), filepath.Join(s.root, "go.sum"), s.programFolder("hostd"))
	if err != nil {
		return err
	}
	return b.buildOnce("hostd", state+"\n"+strings.Join(args, " "), []string{"hostd", "kubectl"}, func() error {
		if _, err := runForOutput(b.command(ctx, s.root, args...)); err != nil {
			return err
		}
		link := filepath.Join(b.bin, "kubectl")
		return errors.Join(dropGone(os.Remove(link)), os.Symlink("hostd", link))
	})
}

// sources are the folder of this module and its version of Kubernetes.
type sources struct {
	root, kubernetes string
}

// programFolder returns the folder of one of our programs.
func (s sources) programFolder(name string) string {
	return filepath.Join(s.root, "hostlab", "cmd", name)
}

func (b builder) sources(ctx context.Context) (sources, error) {
	list, err := runForOutput(b.command(ctx, ".", "list", "-m", "-f", "{{.Path}} {{.Version}} {{.Dir}}", ownModule, kubernetesModule))
	if err != nil {
		return sources{}, fmt.Errorf("cannot find the module; run this inside its folder: %w", err)
	}
	var s sources
	for line := range strings.Lines(list) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		switch fields[0] {
		case ownModule:
			s.root = fields[2]
		case kubernetesModule:
			s.kubernetes = fields[1]
		}
	}
	return s, nil
}

// versionFlags returns the linker flags that give the Kubernetes programs their version.
func versionFlags(version string) string {
	minor := strings.Split(strings.TrimPrefix(version, "v"), ".")[1]
	const set = " -X k8s.io/component-base/version."
	return "-s -w" + set + "gitVersion=" + version + set + "gitMajor=1" + set + "gitMinor=" + minor + set + "gitTreeState=clean"
}

// buildModule builds the programs of another module.
func (b builder) buildModule(ctx context.Context, m module) error {
	stamp := fmt.Sprintf("%s@%s %s %s %v", m.path, m.version, m.tags, m.ldflags, m.cgo)
	if len(m.files) > 0 {
		stamp += fmt.Sprintf(" %q", m.files)
	}
	return b.buildOnce(m.name, stamp, m.binaries, func() error {
		tree, err := b.copyModule(ctx, m)
		if err != nil {
			return err
		}
		out := b.bin + "/"
		if len(m.binaries) == 1 {
			out += m.binaries[0]
		}
		args := []string{"build", "-mod=mod", "-tags", m.tags, "-ldflags", "-s -w " + m.ldflags, "-o", out}
		command := b.command(ctx, tree, append(args, m.packages...)...)
		if m.cgo {
			command.Env = append(command.Env, "CGO_ENABLED=1")
		}
		_, err = runForOutput(command)
		return err
	})
}

// download downloads a module and returns its folder, in which nothing may be changed.
func (b builder) download(ctx context.Context, m module) (string, error) {
	if err := os.MkdirAll(b.src, 0o755); err != nil {
		return "", err
	}
	text, err := runForOutput(b.command(ctx, b.src, "mod", "download", "-json", m.path+"@"+m.version))
	if err != nil {
		return "", fmt.Errorf("cannot download: %w", err)
	}
	var download struct {
		Dir string `json:"Dir"`
	}
	if err := json.Unmarshal([]byte(text), &download); err != nil {
		return "", fmt.Errorf("cannot read result of the download: %w", err)
	}
	return download.Dir, nil
}

// copyModule downloads a module and copies it to where it can be built as the main
// module. Its replacements by folders lead outside the module and are dropped;
// what they stand for is published.
func (b builder) copyModule(ctx context.Context, m module) (string, error) {
	folder, err := b.download(ctx, m)
	if err != nil {
		return "", err
	}
	tree := filepath.Join(b.src, m.name)
	if err := os.RemoveAll(tree); err != nil {
		return "", err
	}
	if err := os.CopyFS(tree, os.DirFS(folder)); err != nil {
		return "", fmt.Errorf("cannot copy the sources: %w", err)
	}
	if err := filepath.WalkDir(tree, makeWritable); err != nil {
		return "", err
	}
	for name, text := range m.files {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	text, err := runForOutput(b.command(ctx, tree, "mod", "edit", "-json"))
	if err != nil {
		return "", err
	}
	drop, err := localReplacements([]byte(text))
	if err != nil || len(drop) == 0 {
		return tree, err
	}
	_, err = runForOutput(b.command(ctx, tree, append([]string{"mod", "edit"}, drop...)...))
	return tree, err
}

// makeWritable undoes the module cache's protection in a copy.
func makeWritable(path string, entry fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if entry.IsDir() {
		return os.Chmod(path, 0o755)
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	return os.Chmod(path, info.Mode()|0o200)
}

// moduleVersion is a module in the JSON of go.mod.
type moduleVersion struct {
	Path    string `json:"Path"`
	Version string `json:"Version"`
}

// localReplacements turns `go mod edit -json` into the flags that drop every
// replacement by a folder.
func localReplacements(text []byte) ([]string, error) {
	var file struct {
		Replace []struct {
			Old moduleVersion `json:"Old"`
			New moduleVersion `json:"New"`
		} `json:"Replace"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("cannot read go.mod: %w", err)
	}
	var flags []string
	for _, r := range file.Replace {
		if strings.HasPrefix(r.New.Path, ".") || filepath.IsAbs(r.New.Path) {
			old := r.Old.Path
			if r.Old.Version != "" {
				old += "@" + r.Old.Version
			}
			flags = append(flags, "-dropreplace="+old)
		}
	}
	return flags, nil
}

// buildOnce builds unless the binaries are there and were built from the same.
func (b builder) buildOnce(name, from string, binaries []string, build func() error) error {
	stamp := filepath.Join(b.bin, "."+name+".stamp")
	before, err := os.ReadFile(stamp)
	fresh := err == nil && string(before) == from
	for _, binary := range binaries {
		if _, err := os.Stat(filepath.Join(b.bin, binary)); err != nil {
			fresh = false
		}
	}
	if fresh {
		return nil
	}
	if err := build(); err != nil {
		return fmt.Errorf("cannot build %s: %w", name, err)
	}
	return os.WriteFile(stamp, []byte(from), 0o644)
}

// command returns the ordinary go command in a folder, with the flags of the machine:
// other flags would fill the build cache a second time.
func (b builder) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	return command
}

// digestFiles returns a hash over files, and over the Go files of folders.
func digestFiles(paths ...string) (string, error) {
	hash := sha256.New()
	for _, path := range paths {
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil {
			return "", err
		}
		if len(files) == 0 {
			files = []string{path}
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			_, _ = fmt.Fprintf(hash, "%s %d\n", filepath.Base(file), len(data))
			_, _ = hash.Write(data)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// build builds whatever is missing.
func (l *local) build(ctx context.Context) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("the host is built with Go, which is not in PATH: install it from https://go.dev/dl/")
	}
	b := builder{bin: l.path("bin"), src: l.path("src")}
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return err
	}
	if err := l.steps.run("build the helpers", func() error { return b.buildHelpers(ctx) }); err != nil {
		return err
	}
	if err := l.steps.run("build hostd (Kubernetes, etcd, CoreDNS)", func() error { return b.buildHostd(ctx) }); err != nil {
		return err
	}
	for _, m := range modules() {
		if err := l.steps.run("build "+m.name+" "+m.version, func() error { return b.buildModule(ctx, m) }); err != nil {
			return err
		}
	}
	return nil
}
