package replicas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// forceValue finds the value of the setting in the log of a member that waits.
var forceValue = regexp.MustCompile(`controlPlane\.backingStore\.etcd\.embedded\.forceNewCluster=(shop-0/\d+)`)

// TestLostMajority loses the volumes of two of three members. The third one waits until
// the operator makes it the only one, with the setting in its log. The others join again.
func TestLostMajority(t *testing.T) {
	t.Parallel()
	if !isLong() {
		t.Skip("it takes a minute: set " + longVariable)
	}
	w := newWorld(t, setup{replicas: 1})
	eventually(t, "the StatefulSet is scaled", func(ctx context.Context) error { return w.fleet.Scale(ctx, 3) })
	w.awaitReady(t, 3)
	w.keep(t, "before")
	for _, pod := range []string{"shop-0", "shop-1", "shop-2"} {
		w.fleet.Kill(pod)
	}
	for _, pod := range []string{"shop-1", "shop-2"} {
		if err := os.RemoveAll(w.fleet.DataDir(pod)); err != nil {
			t.Fatal(err)
		}
	}

	w.fleet.Restart("shop-0")
	value := w.awaitForceValue(t, "shop-0")
	w.fleet.Kill("shop-0")
	if err := w.release.Upgrade(t.Context(), map[string]any{"controlPlane": map[string]any{
		"statefulSet":  map[string]any{"highAvailability": map[string]any{"replicas": 3}},
		"backingStore": map[string]any{"etcd": map[string]any{"embedded": map[string]any{"forceNewCluster": value}}},
	}}); err != nil {
		t.Fatal(err)
	}
	w.fleet.Restart("shop-0")
	w.awaitReady(t, 1)
	w.keep(t, "alone")
	w.fleet.Restart("shop-1")
	w.fleet.Restart("shop-2")
	w.awaitReady(t, 3)
	w.checkKept(t, "before", "alone")

	// The setting is still there, and a restart forces nothing.
	w.fleet.Kill("shop-0")
	w.keep(t, "without shop-0")
	w.fleet.Restart("shop-0")
	w.awaitReady(t, 3)
	w.checkKept(t, "before", "alone", "without shop-0")
}

// awaitForceValue waits until the log of a pod has the value of the setting that makes it
// the only member.
func (w *world) awaitForceValue(t *testing.T, pod string) (value string) {
	t.Helper()
	eventually(t, pod+" waits for the others", func(context.Context) error {
		for _, replica := range w.fleet.Replicas() {
			if replica.Pod != pod {
				continue
			}
			log, err := os.ReadFile(replica.LogFile())
			if err != nil {
				return err
			}
			if found := forceValue.FindSubmatch(log); found != nil {
				value = string(found[1])
				return nil
			}
		}
		return errors.New("its log does not have the setting")
	})
	return value
}

// keep writes a ConfigMap and reads it from each replica that runs, so that each
// member has it.
func (w *world) keep(t *testing.T, what string) {
	t.Helper()
	eventually(t, "a ConfigMap is written", func(ctx context.Context) error {
		client := w.pick()
		if client == nil {
			return errNobody
		}
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		_, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "kept-"}, Data: map[string]string{"kept": what},
		}, metav1.CreateOptions{})
		return err
	})
	w.checkKept(t, what)
}

// checkKept waits until each replica that runs has the ConfigMaps.
func (w *world) checkKept(t *testing.T, wanted ...string) {
	t.Helper()
	for _, replica := range w.fleet.Replicas() {
		eventually(t, replica.Pod+" has what was written", func(ctx context.Context) error { return hasKept(ctx, replica, wanted) })
	}
}

// hasKept returns an error if a replica lacks a ConfigMap.
func hasKept(ctx context.Context, replica *tenant.Replica, wanted []string) error {
	if replica.Client() == nil {
		return errNobody
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := replica.Client().CoreV1().ConfigMaps(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for i := range list.Items {
		kept[list.Items[i].Data["kept"]] = true
	}
	for _, what := range wanted {
		if !kept[what] {
			return fmt.Errorf("%q is lost", what)
		}
	}
	return nil
}
