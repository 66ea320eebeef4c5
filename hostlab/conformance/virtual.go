package conformance

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// values opens the policies of the chart as far as the suite needs.
//
//go:embed values.yaml
var values []byte

// Virtual is a release of the chart that the suite tests.
type Virtual struct {
	// Chart is the folder of the chart, Helm and Kubectl are binaries.
	Chart, Helm, Kubectl string
	// Kubeconfig is that of the host.
	Kubeconfig string
	// Scheduler runs the virtual scheduler.
	Scheduler bool
}

// release is the name of the release and of its namespace.
const release = "conformance"

// runtimeClass is the class of the host that pods of the suite get whose own class has its
// handler. The values have its name.
const runtimeClass = `{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"conformance"},"handler":"test-handler"}`

// Install installs the release and returns the path of its kubeconfig when its API
// server is ready.
func (s *Suite) Install(ctx context.Context, v Virtual) (string, error) {
	file := s.path("values.yaml")
	if err := os.WriteFile(file, values, 0o644); err != nil {
		return "", err
	}
	if err := v.apply(ctx, runtimeClass); err != nil {
		return "", err
	}
	args := []string{
		"--kubeconfig", v.Kubeconfig, "upgrade", "--install", release, v.Chart, "-n", release, "--create-namespace",
		"-f", file, "--wait", "--timeout", "5m",
	}
	if v.Scheduler {
		args = append(args, "--set", "controlPlane.advanced.virtualScheduler.enabled=true")
	}
	if _, err := output(exec.CommandContext(ctx, v.Helm, args...)); err != nil {
		return "", fmt.Errorf("cannot install the chart: %w", err)
	}
	encoded, err := v.get(ctx, "secret", release+"-kubeconfig", "{.data.config}")
	if err != nil {
		return "", err
	}
	config, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("cannot read the kubeconfig of the release: %w", err)
	}
	address, err := v.get(ctx, "service", release, "{.spec.clusterIP}")
	if err != nil {
		return "", err
	}
	kubeconfig := s.path("virtual.kubeconfig")
	// The machine reaches the addresses of Services, but not their names.
	text := strings.ReplaceAll(string(config), "https://"+release+"."+release, "https://"+address)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		return "", err
	}
	return kubeconfig, nil
}

// Uninstall removes the release and its namespace.
func (s *Suite) Uninstall(ctx context.Context, v Virtual) error {
	if _, err := output(exec.CommandContext(ctx, v.Helm, "--kubeconfig", v.Kubeconfig, "uninstall", release, "-n", release, "--ignore-not-found", "--wait")); err != nil {
		return err
	}
	_, err := output(exec.CommandContext(ctx, v.Kubectl, "--kubeconfig", v.Kubeconfig, "delete",
		"namespace/"+release, "runtimeclass/"+release, "--ignore-not-found", "--timeout=2m"))
	return err
}

// apply applies objects to the host.
func (v Virtual) apply(ctx context.Context, objects string) error {
	cmd := exec.CommandContext(ctx, v.Kubectl, "--kubeconfig", v.Kubeconfig, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(objects)
	_, err := output(cmd)
	return err
}

func (v Virtual) get(ctx context.Context, kind, name, path string) (string, error) {
	return output(exec.CommandContext(ctx, v.Kubectl, "--kubeconfig", v.Kubeconfig, "-n", release, "get", kind, name, "-o", "jsonpath="+path))
}

// WatchMemory reads the anonymous memory of the control plane until the context ends, and
// returns the largest value, in bytes.
func (v Virtual) WatchMemory(ctx context.Context) uint64 {
	var peak uint64
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return peak
		case <-ticker.C:
			peak = max(peak, v.memory(ctx))
		}
	}
}

// memory returns the anonymous memory of the control plane now, or 0 if it is unknown.
func (v Virtual) memory(ctx context.Context) uint64 {
	node, err := v.get(ctx, "pod", release+"-0", "{.spec.nodeName}")
	if err != nil {
		return 0
	}
	text, err := output(exec.CommandContext(ctx, v.Kubectl, "--kubeconfig", v.Kubeconfig, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/stats/summary"))
	if err != nil {
		return 0
	}
	return controlPlaneMemory([]byte(text))
}

// controlPlaneMemory returns the anonymous memory of the control plane in a kubelet's
// summary.
func controlPlaneMemory(data []byte) uint64 {
	var summary struct {
		Pods []struct {
			PodRef struct {
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"podRef"`
			Containers []struct {
				Memory struct {
					RSSBytes uint64 `json:"rssBytes"`
				} `json:"memory"`
			} `json:"containers"`
		} `json:"pods"`
	}
	if json.Unmarshal(data, &summary) != nil {
		return 0
	}
	var total uint64
	for _, pod := range summary.Pods {
		if pod.PodRef.Namespace == release && pod.PodRef.Name == release+"-0" {
			for _, container := range pod.Containers {
				total += container.Memory.RSSBytes
			}
		}
	}
	return total
}
