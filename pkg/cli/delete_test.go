package cli_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/release"
)

// uninstalling answers as a host with an empty Helm release of shop and its anchor. It records what is
// deleted.
type uninstalling struct {
	mu      sync.Mutex
	deleted []string
	// pods answers lists of pods. Default: those of the fake host, which never go.
	pods func(w http.ResponseWriter)
	// chart is the name of the chart of the release, empty for none.
	chart string
	// claims are the claims in the namespace that nothing owns.
	claims []string
}

// answer answers requests of Helm, and those that delete.
func (u *uninstalling) answer(w http.ResponseWriter, r *http.Request) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case r.Method == http.MethodDelete:
		u.deleted = append(u.deleted, r.URL.Path)
		write(w, http.StatusOK, &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
	case strings.HasSuffix(r.URL.Path, "/secrets/shop-encryption"):
		writeError(w, http.StatusNotFound, metav1.StatusReasonNotFound, "there is none")
	case strings.Contains(r.URL.Path, "/secrets"):
		secret := corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}}
		secret.ObjectMeta = metav1.ObjectMeta{Name: "sh.helm.release.v1.shop.v1", Namespace: "tenant-shop", Labels: map[string]string{"owner": "helm", "name": "shop"}}
		content := `{"name":"shop","namespace":"tenant-shop","version":1,"info":{"status":"deployed"}}`
		if u.chart != "" {
			content = `{"name":"shop","namespace":"tenant-shop","version":1,"info":{"status":"deployed"},"chart":{"metadata":{"name":"` + u.chart + `"}}}`
		}
		secret.Data = map[string][]byte{"release": []byte(base64.StdEncoding.EncodeToString([]byte(content)))}
		if strings.HasSuffix(r.URL.Path, "/secrets") {
			write(w, http.StatusOK, &corev1.SecretList{TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"}, Items: []corev1.Secret{secret}})
		} else {
			write(w, http.StatusOK, &secret)
		}
	case strings.HasSuffix(r.URL.Path, "/configmaps/shop-anchor"):
		write(w, http.StatusOK, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "shop-anchor", Namespace: "tenant-shop", UID: "anchor-uid"}})
	case strings.HasSuffix(r.URL.Path, "/persistentvolumeclaims"):
		list := &corev1.PersistentVolumeClaimList{}
		for _, name := range u.claims {
			if strings.Contains(r.URL.RawQuery, "sublet.dev%2Fcluster%3D") { // Only the tenant's claims are asked for.
				break
			}
			list.Items = append(list.Items, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "tenant-shop"}})
		}
		write(w, http.StatusOK, list)
	case strings.HasSuffix(r.URL.Path, "/pods") && u.pods != nil:
		u.pods(w)
	default:
		return false
	}
	return true
}

// hasDeleted reports whether the last part of a path was deleted.
func (u *uninstalling) hasDeleted(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.deleted, func(path string) bool { return strings.HasSuffix(path, "/"+name) })
}

// TestDeleteLeavesNothing deletes a virtual cluster whose pods never go. All that the flags name is deleted
// all the same, as a second call would find no virtual cluster.
func TestDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	u := &uninstalling{}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, u.answer, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	addConnections(t, file, "shop", map[string]*clientcmdapi.AuthInfo{"sublet_shop": userWith("a")})
	_, errOut, code := runSublet(t, file, "delete", "shop", "--yes", "--delete-claims", "--timeout=3s")
	if code != 6 || !strings.Contains(errOut, "2 pods and 0 volume claims are still there") {
		t.Errorf("exit code %d:\n%s", code, errOut)
	}
	for _, name := range []string{"sh.helm.release.v1.shop.v1", "data-shop-0"} {
		if !u.hasDeleted(name) {
			t.Errorf("%s is left; deleted: %v", name, u.deleted)
		}
	}
	if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "sublet_shop") {
		t.Errorf("the context is left: %v\n%s", err, text)
	}
}

// TestDeleteThatCannotCount shows that what cannot be listed is not taken for nothing.
func TestDeleteThatCannotCount(t *testing.T) {
	t.Parallel()
	u := &uninstalling{pods: func(w http.ResponseWriter) {
		writeError(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcdserver: no leader")
	}}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, u.answer, release.Release{Name: "shop", Namespace: "tenant-shop"})})
	_, errOut, code := runSublet(t, file, "delete", "shop", "--yes", "--timeout=3s")
	if code != 1 || strings.Contains(errOut, "0 pods") || strings.Contains(errOut, "is deleted") ||
		!strings.Contains(errOut, "How many is not known") || !strings.Contains(errOut, "cannot wait for the end of the tenant's pods") {
		t.Errorf("exit code %d:\n%s", code, errOut)
	}
}

// TestDeleteSparesOtherCharts names Helm releases of other charts. Nothing of them is changed.
func TestDeleteSparesOtherCharts(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"delete": {"delete", "shop", "-n", "tenant-shop", "--yes"}, "create": {"create", "shop", "-n", "tenant-shop", "--upgrade", "--connect=false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := &uninstalling{chart: "postgresql"}
			file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, u.answer)})
			_, errOut, code := runSublet(t, file, arguments...)
			if code != 7 || len(u.deleted) > 0 || !strings.Contains(errOut, "Helm release tenant-shop/shop is of chart postgresql, not of sublet") {
				t.Errorf("exit code %d, deleted %v:\n%s", code, u.deleted, errOut)
			}
		})
	}
}

// TestDeleteNamespaceKeepsClaims deletes a virtual cluster with its namespace, which has a claim that would stay otherwise.
func TestDeleteNamespaceKeepsClaims(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arguments []string
		code      int
	}{"kept": {nil, 7}, "with claims": {[]string{"--delete-claims"}, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := &uninstalling{chart: "sublet", claims: []string{"shop-backup"}}
			file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, u.answer, release.Release{Name: "shop", Namespace: "tenant-shop"})})
			_, errOut, code := runSublet(t, file, append([]string{"delete", "shop", "--yes", "--delete-namespace", "--wait=false"}, c.arguments...)...)
			if code != c.code || u.hasDeleted("tenant-shop") != (c.code == 0) || c.code != 0 && (len(u.deleted) > 0 || !strings.Contains(errOut, "claim shop-backup")) {
				t.Errorf("exit code %d, deleted %v:\n%s", code, u.deleted, errOut)
			}
		})
	}
}

// TestRemoveKeepsOthers renames a context, and gives its new name to a cluster and a user of the user's own. A disconnect
// removes what sublet has written, and nothing else.
func TestRemoveKeepsOthers(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, nil)})
	addConnections(t, file, "shop", map[string]*clientcmdapi.AuthInfo{"sublet_shop": userWith("a")})
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts["prod"] = config.Contexts["sublet_shop"]
	delete(config.Contexts, "sublet_shop")
	config.Clusters["prod"], config.AuthInfos["prod"] = &clientcmdapi.Cluster{Server: "https://prod"}, userWith("mine")
	config.Contexts["prod-admin"] = &clientcmdapi.Context{Cluster: "prod", AuthInfo: "prod"}
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := runSublet(t, file, "disconnect", "shop"); code != 0 {
		t.Errorf("exit code %d:\n%s", code, errOut)
	}
	config, err = clientcmd.LoadFromFile(file)
	if err != nil || config.Clusters["prod"] == nil || config.AuthInfos["prod"] == nil || config.AuthInfos["sublet_shop"] != nil || config.Contexts["prod"] != nil {
		t.Errorf("%v, clusters %v, users %v, contexts %v", err, config.Clusters, config.AuthInfos, config.Contexts)
	}
}
