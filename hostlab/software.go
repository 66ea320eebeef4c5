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
	// file is where the image has its program. Default: bin/PROGRAM.
	file string
}

// BuildSoftware builds all software that tests run on the host, so that no test spends its time on that.
func (h *Host) BuildSoftware(ctx context.Context) error {
	for _, s := range []Software{Traefik(), CertManager(), PrometheusOperator(), Prometheus(), Kueue()} {
		if err := h.buildSoftware(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// buildSoftware builds the programs of software that have not been built yet.
func (h *Host) buildSoftware(ctx context.Context, s Software) error {
	b := h.softwareBuilder()
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return err
	}
	return h.steps.run("build "+s.module.name+" "+s.module.version, func() error { return b.buildModule(ctx, s.module) })
}

func (h *Host) softwareBuilder() builder {
	return builder{bin: filepath.Join(h.dir, "bin"), src: filepath.Join(h.dir, "src")}
}

// LoadSoftware builds software, loads its images into the nodes of the host, and returns the
// folder of its sources. Only tests need it, and its first build takes minutes, so [Host.Up]
// does not do it.
func (h *Host) LoadSoftware(ctx context.Context, s Software) (string, error) {
	b, m := h.softwareBuilder(), s.module
	folder, err := b.download(ctx, m)
	if err != nil || len(s.images) == 0 {
		return folder, err
	}
	if err := h.buildSoftware(ctx, s); err != nil {
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
		file := s.file
		if file == "" {
			file = "bin/" + name
		}
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

// PrometheusOperator returns the operator, whose manifests name the images.
func PrometheusOperator() Software {
	const images = "quay.io/prometheus-operator/prometheus-"
	return Software{
		module: module{
			name: "prometheus-operator", path: "github.com/prometheus-operator/prometheus-operator", version: "v0.83.0",
			packages: []string{"./cmd/operator", "./cmd/prometheus-config-reloader"},
			binaries: []string{"operator", "prometheus-config-reloader"},
		},
		images: map[string]string{
			"operator": images + "operator:v0.83.0", "prometheus-config-reloader": images + "config-reloader:v0.83.0",
		},
	}
}

// Prometheus returns Prometheus v3.4.2 without pages for browsers. Of its plugins it has the
// discovery of Kubernetes alone: the others take several times as long to compile.
func Prometheus() Software {
	return Software{
		module: module{
			name: "prometheus", path: "github.com/prometheus/prometheus", version: "v0.304.2",
			ldflags:  "-X github.com/prometheus/common/version.Version=3.4.2",
			packages: []string{"./cmd/prometheus"}, binaries: []string{"prometheus"},
			files: map[string]string{
				"plugins/plugins.go": "package plugins\n\nimport _ \"github.com/prometheus/prometheus/discovery/kubernetes\"\n",
			},
		},
		images: map[string]string{"prometheus": "quay.io/prometheus/prometheus:v3.4.2"},
	}
}

// Kueue returns Kueue, whose chart names the image and the program in it.
func Kueue() Software {
	return Software{
		module: module{
			name: "kueue", path: "sigs.k8s.io/kueue", version: "v0.12.3",
			packages: []string{"./cmd/kueue"}, binaries: []string{"kueue"},
		},
		images: map[string]string{"kueue": "us-central1-docker.pkg.dev/k8s-staging-images/kueue/kueue:v0.12.3"},
		file:   "manager",
	}
}
