package kubelets

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// TestKubelets starts the two clusters once for all that kubectl may ask.
func TestKubelets(t *testing.T) {
	w := newWorld(t)
	for _, pod := range []string{"on-old-node", "on-new-node"} {
		t.Run(pod, func(t *testing.T) {
			t.Parallel()
			t.Run("Logs", func(t *testing.T) { testLogs(t, w, pod) })
			t.Run("NodeProxy", func(t *testing.T) { testNodeProxy(t, w, pod) })
			for name, spdyToo := range map[string]bool{"SPDY": true, "WebSocket": false} {
				t.Run("Exec/"+name, func(t *testing.T) { testExec(t, w, pod, spdyToo) })
				t.Run("Attach/"+name, func(t *testing.T) { testAttach(t, w, pod, spdyToo) })
				t.Run("PortForward/"+name, func(t *testing.T) { testPortForward(t, w, pod, spdyToo) })
			}
		})
	}
	t.Run("NoSuchContainer", func(t *testing.T) { t.Parallel(); testNoSuchContainer(t, w) })
	t.Run("InjectedContainer", func(t *testing.T) { t.Parallel(); testInjectedContainer(t, w) })
	t.Run("Metrics", func(t *testing.T) { t.Parallel(); testMetrics(t, w) })
	t.Run("NotOnTheHost", func(t *testing.T) { t.Parallel(); testNotOnTheHost(t, w) })
}

func testLogs(t *testing.T, w *world, pod string) {
	lines := int64(7)
	stream, err := w.client.CoreV1().Pods(virtualNamespace).
		GetLogs(pod, &corev1.PodLogOptions{Container: container, Follow: true, TailLines: &lines}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	got, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	want := "log of " + hostName(pod).String() + " " + container + " follow=true tailLines=7"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("options of the log reach the host's kubelet\n-want, +got:\n%s", diff)
	}
}

// testNodeProxy reads a log by the proxy of the pod's node.
func testNodeProxy(t *testing.T, w *world, pod string) {
	node := strings.TrimSuffix(strings.TrimPrefix(pod, "on-"), "-node")
	got, err := w.client.CoreV1().RESTClient().Get().
		AbsPath("/api/v1/nodes/"+node+"/proxy/containerLogs", virtualNamespace, pod, container).Param("tailLines", "7").DoRaw(t.Context())
	if want := "log of " + hostName(pod).String() + " " + container + " follow= tailLines=7"; err != nil || string(got) != want {
		t.Errorf("log by the proxy of node %s: want %q, got %q, %v", node, want, got, err)
	}
}

func testExec(t *testing.T, w *world, pod string, spdyToo bool) {
	stdout, stderr, err := w.stream(t, pod, "exec", "command=exit&command=3", spdyToo, "hello")
	var code exec.CodeExitError
	if !errors.As(err, &code) || code.Code != 3 {
		t.Errorf("the container's exit code: want 3, got %v", err)
	}
	if stdout != "hello" || stderr != `["exit" "3"]` {
		t.Errorf("output %q and errors %q, want what went in and the command", stdout, stderr)
	}
}

func testAttach(t *testing.T, w *world, pod string, spdyToo bool) {
	stdout, stderr, err := w.stream(t, pod, "attach", "", spdyToo, "typed")
	if err != nil {
		t.Fatal(err)
	}
	if stdout != "typed" || stderr != "[]" {
		t.Errorf("output %q and errors %q, want what went in and no command", stdout, stderr)
	}
}

func testPortForward(t *testing.T, w *world, pod string, spdyToo bool) {
	conn := dial(t, w.config, w.url(t, pod, "portforward", ""), spdyToo)
	defer func() { _ = conn.Close() }()
	header := http.Header{}
	for name, value := range map[string]string{"port": "8080", "requestID": "0", "streamType": "error"} {
		header.Set(name, value)
	}
	failures, err := conn.CreateStream(header)
	if err != nil {
		t.Fatal(err)
	}
	_ = failures.Close()
	header.Set("streamType", "data")
	data, err := conn.CreateStream(header)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(data, "ping"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(data); err != nil || string(got) != "8080 PING" {
		t.Errorf("want %q, got %q, %v", "8080 PING", got, err)
	}
	if message, _ := io.ReadAll(failures); len(message) > 0 {
		t.Errorf("the host's kubelet failed: %s", message)
	}
}

// testNoSuchContainer asks for a container that the virtual pod has and the host
// pod has not, so that the host's API server refuses.
func testNoSuchContainer(t *testing.T, w *world) {
	_, err := w.client.CoreV1().Pods(virtualNamespace).
		GetLogs("on-old-node", &corev1.PodLogOptions{Container: virtualContainer}).Stream(t.Context())
	want := "container only-virtual is not valid for pod on-old-node"
	if err == nil || err.Error() != want {
		t.Errorf("the host's refusal in the tenant's names: want %q, got %v", want, err)
	}
}

// testInjectedContainer asks the node's proxy for a container that the host has
// added to its copy. It belongs to the operator.
func testInjectedContainer(t *testing.T, w *world) {
	_, err := w.client.CoreV1().RESTClient().Get().
		AbsPath("/api/v1/nodes/old/proxy/containerLogs", virtualNamespace, "on-old-node", injectedContainer).DoRaw(t.Context())
	if !apierrors.IsNotFound(err) {
		t.Errorf("logs of a container that only the host pod has: want not found, got %v", err)
	}
}

// testNotOnTheHost asks for a pod that has no copy. The API server keeps the text
// of a kubelet that does not know a pod for streams only.
func testNotOnTheHost(t *testing.T, w *world) {
	_, err := w.client.CoreV1().Pods(virtualNamespace).
		GetLogs("virtual-only", &corev1.PodLogOptions{Container: container}).Stream(t.Context())
	if !apierrors.IsNotFound(err) {
		t.Errorf("logs of a pod that has no copy on the host: want not found, got %v", err)
	}
	_, _, err = w.stream(t, "virtual-only", "exec", "command=true", true, "")
	if err == nil || !strings.Contains(err.Error(), `pod "virtual-only" does not exist`) {
		t.Errorf("exec in a pod that has no copy on the host: want that said, got %v", err)
	}
}

// url returns the address of a pod's subresource.
func (w *world) url(t *testing.T, pod, subresource, query string) *url.URL {
	t.Helper()
	u, err := url.Parse(w.config.Host + "/api/v1/namespaces/" + virtualNamespace + "/pods/" + pod + "/" + subresource + "?" + query)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// stream runs exec or attach with input, as kubectl does.
func (w *world) stream(t *testing.T, pod, subresource, query string, spdyToo bool, input string) (stdout, stderr string, err error) {
	t.Helper()
	u := w.url(t, pod, subresource, query+"&container="+container+"&stdin=true&stdout=true&stderr=true")
	var executor remotecommand.Executor
	if spdyToo {
		executor, err = remotecommand.NewSPDYExecutor(w.config, http.MethodPost, u)
	} else {
		executor, err = remotecommand.NewWebSocketExecutor(w.config, http.MethodGet, u.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &out, Stderr: &errOut})
	return out.String(), errOut.String(), err
}

// dial opens a connection that forwards ports, as kubectl does.
func dial(t *testing.T, config *rest.Config, u *url.URL, spdyToo bool) httpstream.Connection {
	t.Helper()
	var dialer httpstream.Dialer
	if spdyToo {
		transport, upgrader, err := spdy.RoundTripperFor(config)
		if err != nil {
			t.Fatal(err)
		}
		dialer = spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	} else {
		var err error
		if dialer, err = portforward.NewSPDYOverWebsocketDialerForStreaming(u, config); err != nil {
			t.Fatal(err)
		}
	}
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		t.Fatalf("cannot open a port-forward: %v", err)
	}
	return conn
}
