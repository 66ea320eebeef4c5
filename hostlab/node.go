package hostlab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// writeChanged writes a file only when its content differs: kube-proxy ends when
// its configuration is touched.
func writeChanged(file string, content []byte) error {
	if before, err := os.ReadFile(file); err == nil && bytes.Equal(before, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}

func (l *local) containerdSocket() string { return l.path("run", "containerd.sock") }

// containerd runs the containers, with images that are loaded, or pulled from the
// host's own registry whatever registry their name names.
func (l *local) containerd() (daemon, error) {
	pods, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", "name": cgroupName,
		"plugins": []map[string]any{
			{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": l.path("state", "addresses"),
					"ranges": l.podRanges(),
				},
			},
			{"type": "portmap", "snat": true, "capabilities": map[string]any{"portMappings": true}},
		},
	}, "", "  ")
	if err != nil {
		return daemon{}, err
	}
	if err := writeChanged(l.path("run", "cni", "10-sublet.conflist"), pods); err != nil {
		return daemon{}, err
	}
	hosts := fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+registryAddr, "http://"+registryAddr)
	for _, registry := range []string{"_default", "localhost"} {
		if err := writeChanged(l.path("run", "registries", registry, "hosts.toml"), []byte(hosts)); err != nil {
			return daemon{}, err
		}
	}
	file := l.path("run", "containerd.toml")
	return daemon{name: "containerd", program: "containerd", args: []string{"--config", file, "--log-level", "warn"}},
		writeChanged(file, []byte(l.containerdConfig()))
}

// containerdConfig needs two settings beyond its folders: a machine may forbid
// even root to lower oom_score_adj, and network namespaces belong below our own
// state.
func (l *local) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  use_local_image_pull = true
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %q
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = %q
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%q]
    conf_dir = %q
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = %q
        SystemdCgroup = false
`, l.path("state", "containerd"), l.path("state", "containerd-run"), l.containerdSocket(), l.path("state", "containerd-opt"),
		pauseImage, l.path("run", "registries"), cniPlugins, l.path("run", "cni"), l.binary("runc"))
}

// kubelet runs the pods. Limits that would slow a burst of pods are lifted; images
// are never collected, because there is nowhere to fetch them from again.
func (l *local) kubelet() (daemon, error) {
	resolv := l.path("run", "resolv.conf")
	if err := writeChanged(resolv, []byte("search "+outsideDomain+"\nnameserver "+nodeIP+"\n")); err != nil {
		return daemon{}, err
	}
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "0.0.0.0",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": l.pki.file("ca.crt")},
		},
		"authorization":     map[string]any{"mode": "Webhook"},
		"tlsCertFile":       l.pki.file("kubelet-serving.crt"),
		"tlsPrivateKeyFile": l.pki.file("kubelet-serving.key"),

		"cgroupDriver": "cgroupfs",
		"cgroupRoot":   "/" + cgroupName,
		"failCgroupV1": false,
		// How long a changed ConfigMap may take to reach a volume.
		"syncFrequency": "10s",
		"failSwapOn":    false,
		"clusterDomain": clusterDomain,
		"clusterDNS":    []string{dnsServiceIP},
		"resolvConf":    resolv,

		"containerRuntimeEndpoint": "unix://" + l.containerdSocket(),
		"serializeImagePulls":      false,
		"registryPullQPS":          0,
		"maxPods":                  450,
		"podPidsLimit":             -1,
		"kubeAPIQPS":               500, "kubeAPIBurst": 1000,
		"eventRecordQPS": 0,

		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"evictionHard": map[string]string{
			"memory.available": "200Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
		},
	})
	if err != nil {
		return daemon{}, err
	}
	file := l.path("run", "kubelet.yaml")
	return hostd("kubelet", "--config="+file, "--kubeconfig="+l.pki.kubeconfig("kubelet"),
		"--hostname-override="+nodeName, "--node-ip="+l.inFamilies(nodeIP, nodeIPv6)), writeChanged(file, config)
}

// kubeProxy makes Services work. Its settings for connection tracking are off:
// they belong to the machine and not to the namespace.
func (l *local) kubeProxy() (daemon, error) {
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode":               "iptables",
		"clientConnection":   map[string]any{"kubeconfig": l.pki.kubeconfig("kube-proxy")},
		"clusterCIDR":        l.inFamilies(podCIDR, podCIDRv6),
		"hostnameOverride":   nodeName,
		"conntrack":          map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		"iptables":           map[string]any{"minSyncPeriod": "100ms"},
		"healthzBindAddress": "0.0.0.0:10256",
		"metricsBindAddress": "127.0.0.1:10249",
	})
	if err != nil {
		return daemon{}, err
	}
	file := l.path("run", "kube-proxy.yaml")
	return hostd("kube-proxy", "--config="+file), writeChanged(file, config)
}

// networkPolicies enforces NetworkPolicies. The machine counts as a part of the node, so
// that operators reach pods.
func (l *local) networkPolicies() (daemon, error) {
	return daemon{name: "netpol", program: "netpol", args: []string{
		"--kubeconfig", l.pki.kubeconfig("admin"), "--node", nodeName, "--admit", machineIP + "," + nodeIP,
	}}, nil
}

// startVolumes makes volumes out of folders of the node.
func (l *local) startVolumes() (daemon, error) {
	return daemon{name: "volumes", program: "volumes", args: []string{
		"--kubeconfig", l.pki.kubeconfig("volumes"), "--folder", l.path("state", "volumes"),
	}}, nil
}
