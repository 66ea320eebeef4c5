package replicas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
)

// acceptValue finds the name of a restored store in the log of its replica.
var acceptValue = regexp.MustCompile(`sublet\.dev/accept-store=([^"\s]+)`)

// TestRestoreHoldsDeletes loses the volume of a virtual cluster and restores an older dump. The copy of a
// Service that the dump lacks stays on the host until the operator accepts the store. No revision that
// a client has seen comes back.
func TestRestoreHoldsDeletes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{replicas: 1})
	dump := filepath.Join(t.TempDir(), "dump")
	w.store(t, "dump", dump)
	w.keep(t, "after")
	seen := w.createCopied(t)
	w.fleet.Kill("shop-0")
	if err := os.RemoveAll(filepath.Join(w.fleet.DataDir("shop-0"), "etcd")); err != nil {
		t.Fatal(err)
	}
	w.store(t, "restore", dump)
	w.fleet.Restart("shop-0")
	w.awaitReady(t, 1)

	accept := w.awaitLog(t, acceptValue)
	client := w.client(t)
	list, err := client.CoreV1().Services(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 { // that of the API
		t.Fatalf("the restored store has %v, %v", list, err)
	}
	if now := revisionOf(t, list.ResourceVersion); now <= seen {
		t.Errorf("the restored store is at revision %d, and clients have seen %d", now, seen)
	}
	if copies := w.countCopies(t); copies != 1 {
		t.Fatalf("the host has %d copies while deletes are on hold", copies)
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, labels.AcceptStore, accept)
	if _, err := w.host.Client().CoreV1().ConfigMaps("shop").Patch(t.Context(), "shop-anchor", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy is deleted after that", func(context.Context) error {
		if copies := w.countCopies(t); copies > 0 {
			return fmt.Errorf("the host has %d", copies)
		}
		return nil
	})
}

// createCopied creates a Service, waits for its copy, and returns the revision of the store.
func (w *world) createCopied(t *testing.T) (revision int64) {
	t.Helper()
	services := w.client(t).CoreV1().Services(metav1.NamespaceDefault)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := services.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the host has the copy", func(context.Context) error {
		if w.countCopies(t) != 1 {
			return errors.New("it has none")
		}
		return nil
	})
	list, err := services.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return revisionOf(t, list.ResourceVersion)
}

// countCopies returns the number of the tenant's Services on the host that nobody deletes.
func (w *world) countCopies(t *testing.T) (count int) {
	t.Helper()
	copies, err := w.host.Client().CoreV1().Services("shop").List(t.Context(), metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		t.Fatal(err)
	}
	for i := range copies.Items {
		if copies.Items[i].DeletionTimestamp == nil {
			count++
		}
	}
	return count
}

func revisionOf(t *testing.T, version string) int64 {
	t.Helper()
	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// store runs a command about the store of shop-0.
func (w *world) store(t *testing.T, verb, file string) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data := w.fleet.DataDir("shop-0")
	dir := filepath.Dir(data)
	command := exec.CommandContext(t.Context(), own, "store", verb, file, "--name=shop", "--namespace=shop", "--data-dir="+data,
		"--config="+filepath.Join(dir, "config.yaml"), "--host-kubeconfig="+filepath.Join(dir, "host.kubeconfig"))
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("store %s: %v\n%s", verb, err, out)
	}
}

// awaitLog waits until the log of shop-0 matches, and returns the first group.
func (w *world) awaitLog(t *testing.T, pattern *regexp.Regexp) (value string) {
	t.Helper()
	eventually(t, "the log of shop-0 has "+pattern.String(), func(context.Context) error {
		for _, replica := range w.fleet.Replicas() {
			log, err := os.ReadFile(replica.LogFile())
			if err != nil {
				return err
			}
			if found := pattern.FindSubmatch(log); found != nil {
				value = string(found[1])
				return nil
			}
		}
		return errors.New("it has not")
	})
	return value
}
