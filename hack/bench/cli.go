package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
)

// The sizes of the measurement of the command line.
const (
	cliHosts    = 10
	cliClusters = 50 // on each host
	cliPods     = 10 // of each virtual cluster
	cliStarts   = 20 // of "sublet version", in each run
)

// measureCLI measures the start of the command line, and a list of many hosts. Each run is a process.
func (b *bench) measureCLI(ctx context.Context) error {
	file, stop, err := b.startListHosts()
	if err != nil {
		return err
	}
	defer stop()
	for range b.runs {
		for range cliStarts {
			took, _, err := b.runCLI(ctx, "version", "--client")
			if err != nil {
				return err
			}
			b.add("cli_version", milliseconds(took))
		}
		if !b.wanted("cli_list_500") {
			continue
		}
		took, out, err := b.runCLI(ctx, "list", "--all-contexts", "--host-timeout=1m", "--kubeconfig="+file)
		if err != nil {
			return err
		}
		if ready := strings.Count(out, " Ready "); ready != cliHosts*cliClusters {
			return fmt.Errorf("sublet list shows %d ready virtual clusters, want %d", ready, cliHosts*cliClusters)
		}
		b.add("cli_list_500", took.Seconds())
	}
	return nil
}

// runCLI runs the command line and returns how long it took, and what it printed.
func (b *bench) runCLI(ctx context.Context, args ...string) (took time.Duration, out string, err error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.cli, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, "", fmt.Errorf("cannot run sublet %s: %w: %s", args[0], err, stderr.String())
	}
	return time.Since(began), stdout.String(), nil
}

// startListHosts starts API servers that answer lists, and writes a kubeconfig with all of them.
func (b *bench) startListHosts() (file string, stop func(), err error) {
	handler, err := newListHandler()
	if err != nil {
		return "", nil, err
	}
	config := clientcmdapi.NewConfig()
	servers := []*httptest.Server{}
	for i := range cliHosts {
		server := httptest.NewTLSServer(handler)
		servers = append(servers, server)
		name := fmt.Sprintf("host-%d", i)
		cluster := clientcmdapi.NewCluster()
		cluster.Server = server.URL
		cluster.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		config.Clusters[name], config.AuthInfos[name] = cluster, &clientcmdapi.AuthInfo{Token: "bench"}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	}
	stop = func() {
		for _, server := range servers {
			server.Close()
		}
	}
	file = filepath.Join(b.dir, "hosts.kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		stop()
		return "", nil, fmt.Errorf("cannot write the kubeconfig of the hosts: %w", err)
	}
	return file, stop, os.Chmod(file, 0o600)
}

// newListHandler returns a handler that answers lists of StatefulSets, ConfigMaps and pods, as a host with
// many virtual clusters does. What a real API server needs to answer is not measured.
func newListHandler() (http.Handler, error) {
	sets, anchors, pods := &appsv1.StatefulSetList{}, &corev1.ConfigMapList{}, &corev1.PodList{}
	for i := range cliClusters {
		r := release.Release{Name: "shop", Namespace: fmt.Sprintf("tenant-%d", i)}
		set := appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: r.StatefulSet(), Namespace: r.Namespace, Labels: r.ControlPlaneSelector()}}
		set.Status.ReadyReplicas, set.Status.UpdatedReplicas = 1, 1
		sets.Items = append(sets.Items, set)
		anchors.Items = append(anchors.Items, corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: r.Anchor(), Namespace: r.Namespace}})
		for j := range cliPods {
			pods.Items = append(pods.Items, listedPod(r, j))
		}
	}
	answers := map[string][]byte{}
	for path, list := range map[string]any{"/apis/apps/v1/statefulsets": sets, "/api/v1/configmaps": anchors, "/api/v1/pods": pods} {
		data, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the list of %s: %w", path, err)
		}
		answers[path] = data
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data)
	}), nil
}

// listedPod returns a host pod of a tenant.
func listedPod(r release.Release, i int) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%d", i), Namespace: r.Namespace, Labels: map[string]string{labels.Release: r.Name}}}
	pod.Spec.NodeName = fmt.Sprintf("node-%d", i)
	pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "registry.example.com/web:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
	}}}}
	return pod
}
