//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sublet-dev/sublet/api/release"
)

// patience is how long a condition may take on a busy machine of two cores. It
// is a limit for broken things, not a measure of good ones.
const patience = 3 * time.Minute

// commandLimit is longer than any command waits for patience. A command that never ends fails its test
// then, and not the whole run without a name.
const commandLimit = 4 * patience

// tenant is one installed release and the ways to reach both of its sides.
type tenant struct {
	t                  *testing.T
	release, namespace string
	virtual            kubernetes.Interface
	virtualConfig      *rest.Config
	kubeconfig         string // of the virtual cluster
}

// install installs the chart and returns when the virtual API is ready.
func install(t *testing.T, release, namespace string, values ...string) *tenant {
	t.Helper()
	// The folder is removed after the cleanup below, which uses it.
	tn := &tenant{t: t, release: release, namespace: namespace, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	args := []string{"install", release, filepath.Join(root, "chart"), "-n", namespace, "--create-namespace"}
	for _, v := range append(testValues(), values...) {
		args = append(args, "--set", v)
	}
	mustRun(t, helm(args...))
	t.Cleanup(func() {
		if t.Failed() {
			tn.dump()
		}
		tn.endRoles()
		_ = newCommand(helmBinary, "--kubeconfig", hostKubeconfig, "uninstall", release, "-n", namespace, "--ignore-not-found").Run()
	})
	tn.connect()
	tn.recordRoles()
	return tn
}

// recordRoles records what the Roles of the release permit, for the comparison at the end.
func (tn *tenant) recordRoles() {
	tn.t.Helper()
	if err := granted.record(tn.t.Context(), release.Release{Name: tn.release, Namespace: tn.namespace}); err != nil {
		tn.t.Fatalf("cannot read the Roles of the release: %v", err)
	}
}

// endRoles records that the release is about to be uninstalled.
func (tn *tenant) endRoles() {
	granted.end(release.Release{Name: tn.release, Namespace: tn.namespace})
}

// connect waits for the kubeconfig Secret and for /readyz.
func (tn *tenant) connect() {
	tn.t.Helper()
	var data []byte
	eventually(tn.t, "Secret "+tn.release+"-kubeconfig", func(ctx context.Context) error {
		secret, err := hostClient.CoreV1().Secrets(tn.namespace).Get(ctx, tn.release+"-kubeconfig", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if data = secret.Data["config"]; len(data) == 0 {
			return fmt.Errorf("has no key config")
		}
		return nil
	})
	service, err := hostClient.CoreV1().Services(tn.namespace).Get(tn.t.Context(), tn.release, metav1.GetOptions{})
	if err != nil {
		tn.t.Fatalf("cannot read the Service of the control plane: %v", err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		tn.t.Fatalf("the Secret holds no kubeconfig: %v", err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + service.Spec.ClusterIP
	}
	if err := clientcmd.WriteToFile(*config, tn.kubeconfig); err != nil {
		tn.t.Fatalf("cannot write the kubeconfig: %v", err)
	}
	restConfig, err := clientcmd.BuildConfigFromFlags("", tn.kubeconfig)
	if err != nil {
		tn.t.Fatalf("cannot use the kubeconfig: %v", err)
	}
	restConfig.QPS = -1
	restConfig.Timeout = commandLimit
	tn.virtualConfig = restConfig
	tn.virtual = kubernetes.NewForConfigOrDie(restConfig)
	tn.awaitReady()
}

// awaitReady waits until the virtual API is ready.
func (tn *tenant) awaitReady() {
	tn.t.Helper()
	eventually(tn.t, "/readyz of "+tn.release, func(ctx context.Context) error {
		return tn.virtual.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(10 * time.Second).Do(ctx).Error()
	})
}

// kubectl runs kubectl as the tenant and returns what it printed.
func (tn *tenant) kubectl(args ...string) string {
	tn.t.Helper()
	return mustRun(tn.t, tn.command(args...))
}

func (tn *tenant) command(args ...string) *exec.Cmd {
	return newCommand("kubectl", append([]string{"--kubeconfig", tn.kubeconfig}, args...)...)
}

// apply applies a manifest as the tenant. It replaces @IMAGE@ by the test image.
func (tn *tenant) apply(manifest string) {
	tn.t.Helper()
	cmd := tn.command("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(manifest, "@IMAGE@", testImage))
	mustRun(tn.t, cmd)
}

// rollout waits until a workload has all its pods.
func (tn *tenant) rollout(what string) {
	tn.t.Helper()
	tn.kubectl("rollout", "status", what, "--timeout", patience.String())
}

// await waits for a condition with kubectl wait.
func (tn *tenant) await(condition, what string) {
	tn.t.Helper()
	tn.kubectl("wait", "--for=create", what, "--timeout", patience.String()) // Older versions take one condition.
	tn.kubectl("wait", "--for", condition, what, "--timeout", patience.String())
}

// dump prints what helps to understand a failure.
func (tn *tenant) dump() {
	for _, cmd := range []*exec.Cmd{
		hostKubectl("-n", tn.namespace, "get", "all,cm,secret,pvc", "-o", "wide"),
		hostKubectl("-n", tn.namespace, "logs", "statefulset/"+tn.release, "--tail", "100"),
		hostKubectl("-n", tn.namespace, "logs", "statefulset/"+tn.release, "--tail", "40", "--previous"),
		hostKubectl("-n", tn.namespace, "get", "events", "--sort-by", ".lastTimestamp"),
		tn.command("get", "pods,svc,pvc,events", "-A", "-o", "wide"),
	} {
		out, _ := cmd.CombinedOutput()
		tn.t.Logf("%s\n%s", strings.Join(cmd.Args, " "), out)
	}
}

// newCommand returns a command that is killed after commandLimit.
func newCommand(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit) //nolint:contextcheck // Cleanups use it too.
	context.AfterFunc(ctx, cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	return cmd
}

func helm(args ...string) *exec.Cmd {
	return newCommand(helmBinary, append([]string{"--kubeconfig", hostKubeconfig}, args...)...)
}

func hostKubectl(args ...string) *exec.Cmd {
	return newCommand("kubectl", append([]string{"--kubeconfig", hostKubeconfig}, args...)...)
}

// mustRun runs a command and fails the test with its output if it fails.
func mustRun(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// eventually calls check until it returns nil, and fails the test with its last error when patience is over. The pauses
// grow with the time that it has waited: many checks start a kubectl, and would keep a CPU busy.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begin := time.Now()
	var err error
	for {
		latest := check(ctx)
		if latest == nil {
			return
		}
		if err == nil || ctx.Err() == nil { // What the end of the time cuts off has no reason.
			err = latest
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(min(max(20*time.Millisecond, time.Since(begin)/10), 500*time.Millisecond)):
		}
	}
}

// figure prints one measured value the way the bench does.
func figure(name string, value float64, unit string) {
	fmt.Fprintf(os.Stdout, "bench %s %.2f %s\n", name, value, unit)
}

// decode reads the JSON that kubectl printed.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("cannot decode %q: %v", text, err)
	}
	return v
}
