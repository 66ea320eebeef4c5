package hostlab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

// Software names a module of others that tests run on the host. Each of its programs has an image
// under the name that the manifests of its authors have.
type Software struct {
	module module
	// images maps a program to the name of its image.
	images map[string]string
}

// LoadSoftware builds software, loads its images into the nodes of the host, and returns the
// folder of its sources. Only tests need it, and its first build takes minutes, so [Host.Up]
// does not do it.
func (h *Host) LoadSoftware(ctx context.Context, s Software) (string, error) {
	b, m := builder{bin: filepath.Join(h.dir, "bin"), src: filepath.Join(h.dir, "src")}, s.module
	folder, err := b.download(ctx, m)
	if err != nil || len(s.images) == 0 {
		return folder, err
	}
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return "", err
	}
	if err := h.steps.run("build "+m.name+" "+m.version, func() error { return b.buildModule(ctx, m) }); err != nil {
		return "", err
	}
	all, err := s.recipes(b.bin)
	if err != nil {
		return "", err
	}
	file := filepath.Join(h.dir, m.name+".tar")
	if err := writeImages(file, all); err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(file) }()
	return folder, h.steps.run("load "+m.name, func() error { return h.LoadImage(ctx, file) })
}

// recipes returns the images, made of programs in bin.
func (s Software) recipes(bin string) ([]recipe, error) {
	var all []recipe
	for _, name := range s.module.binaries {
		program, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			return nil, fmt.Errorf("cannot read program of %s: %w", s.module.name, err)
		}
		file := "bin/" + name
		all = append(all, recipe{
			names: []string{s.images[name]}, entrypoint: []string{"/" + file}, user: "65534:65534",
			files: []oci.File{{Name: "tmp/", Mode: 0o1777}, {Name: file, Data: program, Mode: 0o755}},
		})
	}
	return all, nil
}

// Traefik returns an ingress controller that serves Gateways too. Later versions need modules
// that the module proxy does not serve.
func Traefik() Software {
	return Software{
		module: module{
			name: "traefik", path: "github.com/traefik/traefik/v3", version: "v3.5.3",
			ldflags:  "-X github.com/traefik/traefik/v3/pkg/version.Version=v3.5.3",
			packages: []string{"./cmd/traefik"}, binaries: []string{"traefik"},
		},
		images: map[string]string{"traefik": "docker.io/library/traefik:v3.5.3"},
	}
}

// GatewayAPI returns the definitions of the Gateway API, which have no program.
func GatewayAPI() Software {
	return Software{module: module{name: "gateway-api", path: "sigs.k8s.io/gateway-api", version: "v1.3.0"}}
}

// CertManager returns cert-manager. In later versions its programs are modules that no module
// proxy serves.
func CertManager() Software {
	const images = "quay.io/jetstack/cert-manager-"
	return Software{
		module: module{
			name: "cert-manager", path: "github.com/cert-manager/cert-manager", version: "v1.11.5",
			ldflags:  "-X github.com/cert-manager/cert-manager/pkg/util.AppVersion=v1.11.5",
			packages: []string{"./cmd/controller", "./cmd/webhook", "./cmd/cainjector"},
			binaries: []string{"controller", "webhook", "cainjector"},
		},
		images: map[string]string{
			"controller": images + "controller:v1.11.5", "webhook": images + "webhook:v1.11.5", "cainjector": images + "cainjector:v1.11.5",
		},
	}
}
