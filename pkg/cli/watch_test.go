package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

const (
	manyHosts    = 10
	manyClusters = 50 // on each host
	// patience bounds the wait for what must happen.
	patience = time.Minute
)

// watchedHost is a host that can be watched.
type watchedHost struct {
	watches atomic.Int32
	events  chan metav1.WatchEvent
}

// answer answers watches, and leaves the rest to the host.
func (h *watchedHost) answer(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Query().Get("watch") == "" {
		return false
	}
	h.watches.Add(1)
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return true
		case event := <-h.events:
			_ = json.NewEncoder(w).Encode(event)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// send sends a watch event about a StatefulSet.
func (h *watchedHost) send(t *testing.T, kind string, set appsv1.StatefulSet) {
	t.Helper()
	set.APIVersion, set.Kind = "apps/v1", "StatefulSet"
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	event := metav1.WatchEvent{Type: kind}
	event.Object.Raw = data
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case h.events <- event:
	case <-ctx.Done():
		t.Fatal("nobody watches the host")
	}
}

// output collects what a command prints while it runs.
type output struct {
	lock    sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

// Write implements io.Writer.
func (o *output) Write(data []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return o.text.Write(data)
}

// String returns what was printed so far.
func (o *output) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.String()
}

// await waits until what was printed fulfills a condition.
func (o *output) await(t *testing.T, reason string, done func(text string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done(o.String()) {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: printed only:\n%s", reason, o.String())
		case <-o.changed:
		}
	}
}

// manyKubeconfig returns a kubeconfig with many hosts that can be watched, and many virtual clusters on each.
func manyKubeconfig(t *testing.T) (file string, watched map[string]*watchedHost) {
	t.Helper()
	hosts, watched := map[string]*fakeHost{}, map[string]*watchedHost{}
	for i := range manyHosts {
		clusters := make([]release.Release, 0, manyClusters)
		for j := range manyClusters {
			clusters = append(clusters, release.Release{Name: fmt.Sprintf("c%02d", j), Namespace: fmt.Sprintf("tenant-%02d", j)})
		}
		name := fmt.Sprintf("host%d", i)
		watched[name] = &watchedHost{events: make(chan metav1.WatchEvent)}
		hosts[name] = newFakeHost(t, watched[name].answer, clusters...)
	}
	return kubeconfigOf(t, "host0", hosts), watched
}

// startSublet runs one command until its context ends. It returns its output and its exit code.
func startSublet(ctx context.Context, t *testing.T, file string, onTerminal bool, args ...string) (out *output, code <-chan int) {
	t.Helper()
	out = &output{changed: make(chan struct{}, 1)}
	flags := genericclioptions.NewConfigFlags(true)
	cache := filepath.Join(t.TempDir(), "cache")
	flags.CacheDir = &cache
	env := &host.Env{Flags: flags, In: strings.NewReader(""), Out: out, Err: &output{changed: make(chan struct{}, 1)}, ShowsOut: onTerminal, Colours: onTerminal}
	codes := make(chan int, 1)
	go func() { codes <- cli.Execute(ctx, env, "sublet", append([]string{"--kubeconfig=" + file}, args...)) }()
	return out, codes
}

// TestWatchMany follows 500 virtual clusters on 10 hosts, with one watch on each host.
func TestWatchMany(t *testing.T) {
	t.Parallel()
	file, watched := manyKubeconfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, code := startSublet(ctx, t, file, false, "list", "--all-contexts", "--watch", "--host-timeout=1m")
	out.await(t, "the list", func(text string) bool { return strings.Count(text, "\n") > manyHosts*manyClusters })

	set := workload(release.Release{Name: "c07", Namespace: "tenant-07"})
	set.ResourceVersion, set.Status.ReadyReplicas = "2", 0
	watched["host3"].send(t, "MODIFIED", set)
	// The use is listed again from time to time, so that more lines may follow.
	out.await(t, "a change", printed("host3", "tenant-07", "c07", "NotReady", "0.1.0", "0/1", "etcd.embedded", "2", "2"))
	set.ResourceVersion = "3"
	watched["host3"].send(t, "DELETED", set)
	out.await(t, "a deletion", printed("host3", "tenant-07", "c07", "Deleted"))
	created := workload(release.Release{Name: "new", Namespace: "tenant-new"})
	created.ResourceVersion = "2"
	watched["host9"].send(t, "ADDED", created)
	out.await(t, "a creation", printed("host9", "tenant-new", "new", "Ready"))

	for name, h := range watched {
		if got := h.watches.Load(); got != 1 {
			t.Errorf("%s has %d watches", name, got)
		}
	}
	cancel()
	if got := <-code; got != 130 {
		t.Errorf("exit code %d after Ctrl-C", got)
	}
}

// printed returns a condition: a whole line starts with these cells.
func printed(cells ...string) func(text string) bool {
	return func(text string) bool {
		for line := range strings.Lines(text) {
			if fields := strings.Fields(line); strings.HasSuffix(line, "\n") && len(fields) > len(cells) && slices.Equal(fields[:len(cells)], cells) {
				return true
			}
		}
		return false
	}
}

// TestWatchInPlace follows one host on a terminal: each change prints the table again.
func TestWatchInPlace(t *testing.T) {
	t.Parallel()
	watched := &watchedHost{events: make(chan metav1.WatchEvent)}
	shop := release.Release{Name: "shop", Namespace: "tenant-shop"}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, watched.answer, shop)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, code := startSublet(ctx, t, file, true, "list", "-A", "--watch", "--host-timeout=1m")
	out.await(t, "the list", func(text string) bool { return strings.Contains(text, "Ready") })
	set := workload(shop)
	set.ResourceVersion, set.Status.ReadyReplicas = "2", 0
	watched.send(t, "MODIFIED", set)
	out.await(t, "a change", func(text string) bool { return strings.Contains(text, "NotReady") })
	if got := strings.Count(out.String(), "\x1b[H\x1b[2J"); got < 2 {
		t.Errorf("the screen is cleared %d times: %q", got, out.String())
	}
	cancel()
	<-code
}

// TestColours prints a list on a terminal. Without its colours, it is the list that others get.
func TestColours(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "east", map[string]*fakeHost{
		"east": newFakeHost(t, nil, release.Release{Name: "shop", Namespace: "tenant-shop"}), "west": newFakeHost(t, forbid),
	})
	args := []string{"list", "--all-contexts", "--host-timeout=1m"}
	out, code := startSublet(t.Context(), t, file, true, args...)
	if got := <-code; got != 0 {
		t.Fatalf("exit code %d", got)
	}
	text := out.String()
	if !strings.Contains(text, "\x1b[32mReady\x1b[0m") || !strings.Contains(text, "\x1b[31mDenied\x1b[0m") {
		t.Errorf("it has no colours: %q", text)
	}
	plain, _, _ := runSublet(t, file, args...)
	lines := func(text string) []string {
		text = regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(text, "")
		return strings.Split(text, "\n")
	}
	if strings.Contains(plain, "\x1b") {
		t.Errorf("a list for programs has colours: %q", plain)
	}
	if diff := cmp.Diff(lines(plain), lines(text)); diff != "" {
		t.Errorf("-plain +on a terminal:\n%s", diff)
	}
}

// TestWatchFollowsContext changes the current context while a watch runs. It follows the other host.
func TestWatchFollowsContext(t *testing.T) {
	t.Parallel()
	hosts := map[string]*fakeHost{}
	for _, name := range []string{"east", "west"} {
		watched := &watchedHost{events: make(chan metav1.WatchEvent)}
		hosts[name] = newFakeHost(t, watched.answer, release.Release{Name: "shop-" + name, Namespace: "tenant"})
	}
	file := kubeconfigOf(t, "east", hosts)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, code := startSublet(ctx, t, file, false, "list", "-A", "--watch", "--host-timeout=1m")
	out.await(t, "the list", printed("tenant", "shop-east", "Ready"))
	other := "west"
	err := kubeconfig.New(file).Update(ctx, func(*clientcmdapi.Config) (kubeconfig.Change, error) {
		return kubeconfig.Change{CurrentContext: &other}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out.await(t, "the list of the other host", printed("tenant", "shop-west", "Ready"))
	cancel()
	if got := <-code; got != 130 {
		t.Errorf("exit code %d after Ctrl-C", got)
	}
}

// TestWatchFails checks that a host that the user named must answer.
func TestWatchFails(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "denied", map[string]*fakeHost{"denied": newFakeHost(t, forbid)})
	if out, errOut, code := runSublet(t, file, "list", "-A", "--watch", "--host-timeout=1m"); code != 4 || out != "" || !strings.Contains(errOut, "hint: ") {
		t.Errorf("exit code %d, %q, %q", code, out, errOut)
	}
}

// TestTop sorts by use, and by requests where no use is known.
func TestTop(t *testing.T) {
	t.Parallel()
	small, large := release.Release{Name: "small", Namespace: "a"}, release.Release{Name: "large", Namespace: "b"}
	metrics := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/apis/metrics.k8s.io/") {
			return false
		}
		label, cpu := "app.kubernetes.io/instance", []string{"5m", "6m"}
		if r.URL.Query().Get("labelSelector") == "sublet.dev/release" {
			label, cpu = "sublet.dev/release", []string{"20m", "300m"}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"items":[
{"metadata":{"namespace":"a","labels":{%q:"small"}},"containers":[{"usage":{"cpu":%q,"memory":"500Mi"}}]},
{"metadata":{"namespace":"b","labels":{%q:"large"}},"containers":[{"usage":{"cpu":%q,"memory":"10Mi"}},{"usage":{"cpu":"1m","memory":"1Mi"}}]},
{"metadata":{"namespace":"b","labels":{%q:"other"}},"containers":[{"usage":{"cpu":"9","memory":"9Gi"}}]}]}`, label, cpu[0], label, cpu[1], label)
		return true
	}
	without := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/apis/metrics.k8s.io/") {
			return false
		}
		writeError(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no metrics")
		return true
	}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, metrics, small, large), "west": newFakeHost(t, without, small, large), "xlow": newFakeHost(t, forbid)})
	for _, c := range []struct {
		reason string
		args   []string
		want   string // the rows without the first, with single spaces
	}{
		{"by CPU", []string{"-A"}, "b large 2 2 200m 128Mi 301m 11Mi 7m 11Mi\na small 2 2 200m 128Mi 20m 500Mi 5m 500Mi"},
		{"by memory", []string{"-A", "--sort-by", "memory"}, "a small 2 2 200m 128Mi 20m 500Mi 5m 500Mi\nb large 2 2 200m 128Mi 301m 11Mi 7m 11Mi"},
		{"a namespace", []string{"-n", "a"}, "a small 2 2 200m 128Mi 20m 500Mi 5m 500Mi"},
		{"without metrics", []string{"-A", "--context=west"}, "a small 2 2 200m 128Mi - - - -\nb large 2 2 200m 128Mi - - - -"},
		{"as names", []string{"-A", "-o", "name"}, "virtualclusteruse.cli.sublet.dev/large\nvirtualclusteruse.cli.sublet.dev/small"},
		{"for programs", []string{"-A", "-o", "jsonpath={.items[0].status.usage.cpu} {.items[0].status.controlPlane.memory}"}, "301m 11Mi"},
	} {
		out, errOut, code := runSublet(t, file, append([]string{"top", "--no-headers"}, c.args...)...)
		lines := []string{}
		for line := range strings.Lines(out) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		if got := strings.Join(lines, "\n"); code != 0 || got != c.want {
			t.Errorf("%s: exit code %d, got\n%s\n%s", c.reason, code, got, errOut)
		}
	}
	out, _, code := runSublet(t, file, "top", "--all-contexts", "--host-timeout=1m")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 6 || !strings.HasPrefix(lines[5], "xlow") {
		t.Errorf("exit code %d, all hosts:\n%s", code, out)
	}
}
