package hostlab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

// LoadIngressController builds the ingress controller and loads its image into the nodes of
// the host. Only a test needs it, and its first build takes minutes, so [Host.Up] does neither.
func (h *Host) LoadIngressController(ctx context.Context) error {
	b, m := builder{bin: filepath.Join(h.dir, "bin"), src: filepath.Join(h.dir, "src")}, ingressController()
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return err
	}
	if err := h.steps.run("build "+m.name+" "+m.version, func() error { return b.buildModule(ctx, m) }); err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(b.bin, m.binaries[0]))
	if err != nil {
		return fmt.Errorf("cannot read the ingress controller: %w", err)
	}
	file := filepath.Join(h.dir, "ingress-controller.tar")
	err = writeImages(file, []recipe{{
		names: []string{IngressControllerImage}, entrypoint: []string{"/traefik"}, user: "65535:65535",
		// It creates its files of certificates in the temporary folder.
		files: []oci.File{{Name: "tmp/", Mode: 0o1777}, {Name: "traefik", Data: program, Mode: 0o755}},
	}})
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file) }()
	return h.steps.run("load "+m.name, func() error { return h.LoadImage(ctx, file) })
}
