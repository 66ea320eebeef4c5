package cli_test

import (
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
)

var update = flag.Bool("update", false, "rewrite testdata/wrong.txt")

// forbid answers every request with a missing permission.
func forbid(w http.ResponseWriter, _ *http.Request) bool {
	writeError(w, http.StatusForbidden, metav1.StatusReasonForbidden, "statefulsets.apps is forbidden: User \"ann\" cannot list resource \"statefulsets\"")
	return true
}

// expire answers every request as to an expired token.
func expire(w http.ResponseWriter, _ *http.Request) bool {
	writeError(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	return true
}

// breakDown answers every request with an internal error.
func breakDown(w http.ResponseWriter, _ *http.Request) bool {
	writeError(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcdserver: no leader")
	return true
}

// missPage answers every request as a server that is not one of Kubernetes.
func missPage(w http.ResponseWriter, r *http.Request) bool {
	http.NotFound(w, r)
	return true
}

// showRelease answers as a host on which Helm has a release of the given status.
func showRelease(status string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/secrets") {
			return false
		}
		if wanted := r.URL.Query().Get("labelSelector"); strings.Contains(wanted, "status=") && !strings.Contains(wanted, "status="+status) {
			write(w, http.StatusOK, &corev1.SecretList{})
			return true
		}
		writeRelease(w, status)
		return true
	}
}

// writeRelease answers with the release half.
func writeRelease(w http.ResponseWriter, status string) {
	secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sh.helm.release.v1.half.v1", Namespace: "tenant-half", Labels: map[string]string{"owner": "helm", "name": "half"}}}
	content := `{"name":"half","namespace":"tenant-half","version":1,"info":{"status":"` + status + `"}}`
	secret.Data = map[string][]byte{"release": []byte(base64.StdEncoding.EncodeToString([]byte(content)))}
	write(w, http.StatusOK, &corev1.SecretList{Items: []corev1.Secret{secret}})
}

// TestWrongInputs compares what wrong inputs print with testdata/wrong.txt: one message, what to do, and
// an exit code.
func TestWrongInputs(t *testing.T) {
	t.Parallel()
	shop, twin := release.Release{Name: "shop", Namespace: "tenant-shop"}, release.Release{Name: "shop", Namespace: "other"}
	dir := t.TempDir()
	hosts := map[string]*fakeHost{
		"good": newFakeHost(t, nil, shop, release.Release{Name: "fleet", Namespace: "tenant-fleet"}, release.Release{Name: "blog", Namespace: "a"}, release.Release{Name: "blog", Namespace: "b"}), "twins": newFakeHost(t, nil, shop, twin),
		"denied": newFakeHost(t, forbid), "expired": newFakeHost(t, expire), "broken": newFakeHost(t, breakDown),
		"strict": newFakeHost(t, nil), "web": newFakeHost(t, missPage), "half": newFakeHost(t, showRelease("failed")), "old": newExpiredHost(t),
		"pending": newFakeHost(t, showRelease("pending-install")), "upgrading": newFakeHost(t, showRelease("pending-upgrade")),
		"ending": newFakeHost(t, showRelease("uninstalling"), release.Release{Name: "half", Namespace: "tenant-half"}),
	}
	file := kubeconfigOf(t, "good", hosts)
	badValues := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(badValues, []byte("a: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("clusters: {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"lost":     "current-context: lost\ncontexts: [{name: lost, context: {cluster: gone}}, {name: none, context: {user: ann}}]\n",
		"pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	wrong := [][]string{
		{"lst"},
		{"list", "--nope"},
		{"list", "shop"},
		{"list", "-o", "xml"},
		{"top", "--sort-by", "size"},
		{"list", "-A", "--watch", "--context=expired", "--host-timeout=1m"},
		{"list", "-o", "jsonpath={"},
		{"list", "--host-timeout=soon"},
		{"list", "--context=nope"},
		{"list", "--cluster=nope"},
		{"list", "--user=nope"},
		{"list", "--kubeconfig=DIR/missing"},
		{"list", "--kubeconfig=DIR/broken"},
		{"list", "--context=denied", "-A"},
		{"list", "--context=expired", "-A"},
		{"list", "--context=broken", "-A"},
		{"list", "--server=https://127.0.0.1:1"},
		{"list", "--context=strict"},
		{"list", "--context=old"},
		{"list", "--host-timeout=0s"},
		{"list", "--context=web"},
		{"list", "--server=https://shop:example:com"},
		{"logs", "shop", "--tail=-2"},
		{"logs", "shop", "--since=-5m"},
		{"logs", "shop", "--replica=-2"},
		{"create"},
		{"create", "one", "two"},
		{"check", "one", "two"},
		{"check", "-o", "xml"},
		{"check", "new", "--set", "a"},
		{"create", "Shop"},
		{"create", "1shop"},
		{"create", strings.Repeat("a", 54)},
		{"create", "new", "-f", "DIR/missing.yaml"},
		{"create", "new", "-f", "DIR/bad.yaml"},
		{"create", "new", "--set", "a"},
		{"create", "new", "--set-json", "a={"},
		{"create", "new", "--wait=false", "--connect"},
		{"create", "new", "--set", "controlPlane.statefulset.env=a"},
		{"create", "new", "--set", "controlPlane.statefulSet.env[0].name=POD_IP,controlPlane.statefulSet.env[0].value=a-password"},
		{"create", "new", "--set-json", `sync.toHost.pods.patches=[{"path":"spec.priorityClassName","expression":"val"}]`},
		{"create", "new", "--context=nope"},
		{"create", "new", "-n", "nowhere", "--create-namespace=false"},
		{"connect"},
		{"connect", "a", "b"},
		{"connect", "nope"},
		{"connect", "blog"},
		{"connect", "shop", "-n", "nope"},
		{"connect", "shop", "--context=denied"},
		{"connect", "shop"},
		{"connect", "shop", "--print", "--foreground"},
		{"connect", "shop", "--print", "--", "true"},
		{"connect", "shop", "--port=70000"},
		{"connect", "shop", "--virtual-server=ftp://shop"},
		{"disconnect"},
		{"disconnect", "nope"},
		{"delete", "nope", "--yes"},
		{"delete", "shop", "--context=expired", "--yes"},
		{"delete", "shop"},
		{"upgrade", "nope"},
		{"upgrade", "shop", "-f", "DIR/bad.yaml"},
		{"upgrade", "shop", "--wait=false"},
		{"upgrade", "fleet"},
		{"upgrade", "fleet", "--ignore-gitops"},
		{"delete", "fleet", "--yes"},
		{"delete", "shop", "--yes"},
		{"kubeconfig", "shop"},
		{"kubeconfig", "rotate"},
		{"kubeconfig", "rotate", "nope"},
		{"kubeconfig", "rotate", "shop"},
		{"debug", "collect"},
		{"debug", "collect", "nope"},
		{"debug", "collect", "shop", "--file", "DIR/missing/bundle"},
		{"debug", "more"},
		{"describe", ""},
		{"connect", "a b"},
		{"delete", "", "--yes"},
		{"check", ""},
		{"create", "new", "--timeout=-1s"},
		{"upgrade", "shop", "--timeout=0"},
		{"list", "--kubeconfig=DIR/lost"},
		{"list", "--kubeconfig=DIR/lost", "--context=none"},
		{"create", "half", "-n", "tenant-half", "--context=half"},
		{"create", "half", "-n", "tenant-half", "--context=pending", "--upgrade"},
		{"create", "half", "-n", "tenant-half", "--context=upgrading", "--upgrade"},
		{"create", "half", "-n", "tenant-half", "--context=ending"},
		{"create", "half", "-n", "tenant-half", "--context=ending", "--upgrade"},
		{"upgrade", "half", "-n", "tenant-half", "--context=ending"},
		{"delete", "half", "-n", "tenant-half", "--context=half"},
		{"patch", "test", "DIR/missing"},
		{"patch", "test", "DIR/pod.yaml", "--set-json", `sync.toHost.pods.patches=[{"path":"spec.hostname","expression":"object.spec.nodeName"}]`},
		{"kubeconfig", "shop", "--virtual-server=shop"},
		{"completion", "nosh"},
		{"completion", "bash", "more"},
		{"help", "lst"},
		{"version", "more"},
		{"version", "-o", "xml"},
		{"version", "--kubeconfig=DIR/missing"},
	}
	if len(wrong) < 40 {
		t.Errorf("there are %d wrong inputs", len(wrong))
	}
	for _, args := range wrong {
		given := make([]string, 0, len(args))
		for _, arg := range args {
			given = append(given, strings.ReplaceAll(arg, "DIR/", dir+"/"))
		}
		out, errOut, code := runSublet(t, file, given...)
		if code == 0 || out != "" && args[0] != "version" {
			t.Errorf("%s: exit code %d, and printed %q", args, code, out)
		}
		if strings.Contains(errOut, "goroutine ") || strings.Count(errOut, "error: ") != 1 || !strings.Contains(errOut, "\nhint: ") {
			t.Errorf("%s: a stack, no hint, or not one message:\n%s", args, errOut)
		}
		fmt.Fprintf(&text, "$ sublet %s\n%sexit code %d\n\n", strings.Join(args, " "), stable(errOut, dir), code)
	}
	golden := filepath.Join("testdata", "wrong.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("-want +got, rewrite with -update:\n%s", diff)
	}
}

// stable replaces what differs from run to run.
func stable(text, dir string) string {
	text = strings.ReplaceAll(text, dir, "DIR")
	text = regexp.MustCompile(`current time [^ ]* `).ReplaceAllString(text, "current time NOW ")
	return regexp.MustCompile(`127\.0\.0\.1:\d{4,5}`).ReplaceAllString(text, "HOST")
}
