package integration

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestVolumeRollback puts an earlier snapshot of its volume back under a virtual cluster that does little. A start
// writes more than the lost time did, so that the version of the store soon looks newer. Nothing of the
// lost time may be deleted on the host, however often the process starts.
func TestVolumeRollback(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	own, backup := newOwnCluster(t), filepath.Join(t.TempDir(), "backup")
	others := *r.clusters
	others.virtual = &own.cluster
	r.clusters = &others
	if err := own.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}); err != nil {
		t.Fatal(err)
	}
	e := r.syncFrom(t, own, "")
	r.putMap(t, "stays", "1")
	r.has(t, "stays", "1")
	e.stop()
	recorded := r.recordedVersion(t)
	own.restart(t, func() { copyStore(t, own.dir, backup) })
	e = r.syncFrom(t, own, recorded)
	r.putMap(t, "comes", "1")
	r.has(t, "comes", "1")
	e.stop()
	r.awaitRecord(t, r.syncFrom(t, own, recorded)) // A start records the version, which an engine does once a minute otherwise.

	recorded = r.recordedVersion(t)
	own.restart(t, func() { copyStore(t, backup, own.dir) })
	for i := range 2 {
		for j := range 5 { // The API takes writes before the engine runs.
			r.putMap(t, "early", fmt.Sprint(i, j))
		}
		e = r.syncFrom(t, own, recorded)
		eventually(t, "deletes are on hold", func(context.Context) error {
			if status := e.status(); !strings.Contains(status, "older than the recorded") || !strings.Contains(status, "1 objects are on hold") {
				return errors.New(status)
			}
			return nil
		})
		eventually(t, "the anchor records that the store was older", func(ctx context.Context) error {
			anchor := &corev1.ConfigMap{}
			err := r.host.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: r.cluster.Anchor.Name}, anchor)
			if err == nil && !strings.Contains(anchor.Annotations[labels.Store], "@") {
				err = fmt.Errorf("it has %q", anchor.Annotations[labels.Store])
			}
			return err
		})
		r.has(t, "comes", "1")
		e.stop()
		recorded = r.recordedVersion(t)
		own.restart(t, func() {})
	}
}

// recordedVersion returns the version of the store that the anchor has now.
func (r *release) recordedVersion(t *testing.T) string {
	t.Helper()
	anchor := &corev1.ConfigMap{}
	if err := r.host.client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.cluster.Anchor.Name}, anchor); err != nil {
		t.Fatal(err)
	}
	return anchor.Annotations[labels.StoreRevision]
}

// syncFrom starts an engine for a virtual cluster, and waits until it has compared the store with the recorded one.
// The engine gets recorded as the version that the anchor had before the cluster started.
func (r *release) syncFrom(t *testing.T, virtual *ownCluster, recorded string) *engine {
	t.Helper()
	e := r.startWith(t, syncer.Options{
		Virtual: virtual.memory(), Host: r.host.memory(), Kinds: []syncer.Kind{r.configMaps()},
		Opened: func() (string, string) {
			return strconv.FormatInt(virtual.store.Revision(), 10), recorded
		},
	})
	e.synced(t)
	eventually(t, "the store is compared", func(context.Context) error {
		if status := e.status(); strings.Contains(status, "has not been compared") {
			return errors.New(status)
		}
		return nil
	})
	return e
}

// awaitRecord waits until the anchor has a version that an engine has just recorded, and stops the engine.
func (r *release) awaitRecord(t *testing.T, e *engine) {
	t.Helper()
	defer e.stop()
	comes := &corev1.ConfigMap{}
	if err := r.virtual.client.Get(t.Context(), r.virtualKey("comes"), comes); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the anchor records the version", func(context.Context) error {
		recorded := r.recordedVersion(t)
		order, err := resourceversion.CompareResourceVersion(recorded, comes.ResourceVersion)
		if err == nil && order < 0 {
			err = fmt.Errorf("it has %q, want %s", recorded, comes.ResourceVersion)
		}
		return err
	})
}
