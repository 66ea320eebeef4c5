//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const writesVolume = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: e2e-volume-driver, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'echo monday > /data/day && touch /tmp/written && sleep infinity']
      readinessProbe: {exec: {command: [test, -e, /tmp/written]}, periodSeconds: 1}
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`

const takesSnapshot = `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: monday}
spec: {source: {persistentVolumeClaimName: data}}
`

const restoresVolume = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: restored}
spec:
  storageClassName: e2e-volume-driver
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
  dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: monday}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [grep, -qx, monday, /data/day]
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: restored}}]
`

// createSnapshotClasses gives the host the definitions of snapshots, and a class that the
// tenant sees next to one that it does not.
func createSnapshotClasses(t *testing.T) {
	t.Helper()
	mustRun(t, hostKubectl("apply", "-f", filepath.Join(root, "pkg", "app", "definitions", "snapshots")))
	t.Cleanup(func() {
		_ = hostKubectl("delete", "--wait=false", "-f", filepath.Join(root, "pkg", "app", "definitions", "snapshots")).Run()
	})
	for _, name := range []string{"shown", "hidden"} {
		manifest := fmt.Sprintf(`
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: e2e-%s, labels: {e2e: %s}, annotations: {snapshot.storage.kubernetes.io/is-default-class: "true"}}
driver: e2e-volume-driver.sublet.test
deletionPolicy: Delete
parameters: {pool: secret}
`, name, name)
		eventually(t, "snapshot class "+name, func(context.Context) error {
			cmd := hostKubectl("apply", "-f", "-")
			cmd.Stdin = strings.NewReader(manifest)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
}

// TestSnapshotAndGrowth takes a snapshot of a tenant's claim with the permissions of the chart,
// and restores it into a new claim with its data. Then the first claim grows, and keeps its
// data.
func TestSnapshotAndGrowth(t *testing.T) {
	t.Parallel()
	createSnapshotClasses(t)
	tn := install(t, "snapshots", "tenant-snapshots", "sync.toHost.volumeSnapshots.enabled=true", "sync.toHost.persistentVolumes.enabled=true",
		"sync.fromHost.volumeSnapshotClasses.enabled=true", "sync.fromHost.volumeSnapshotClasses.selector.matchLabels.e2e=shown")
	driver := startVolumeDriver(t, tn.namespace)
	tn.apply(writesVolume)
	eventually(t, "snapshot class in the virtual cluster", func(context.Context) error {
		out, err := tn.command("get", "volumesnapshotclasses", "-o", "name").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "volumesnapshotclass.snapshot.storage.k8s.io/e2e-shown" {
			return fmt.Errorf("the tenant sees %s, %w", out, err)
		}
		return nil
	})
	tn.await("condition=Ready", "pod/writer")
	tn.isDenied("sync.fromHost.volumeSnapshotClasses.selector", strings.Replace(takesSnapshot, "spec: {", "spec: {volumeSnapshotClassName: e2e-hidden, ", 1))
	tn.isDenied("may be of others", strings.Replace(takesSnapshot, "persistentVolumeClaimName", "volumeSnapshotContentName", 1))
	if out, err := tn.command("delete", "crd", "volumesnapshots.snapshot.storage.k8s.io").CombinedOutput(); err == nil {
		t.Errorf("the tenant must not delete the definition of snapshots: %s", out)
	}

	tn.apply(takesSnapshot)
	tn.await("jsonpath={.status.readyToUse}=true", "volumesnapshot/monday")
	tn.kubectl("exec", "writer", "--", "sh", "-c", "echo tuesday > /data/day")
	tn.hasContent()
	tn.apply(restoresVolume)
	tn.await("jsonpath={.status.phase}=Succeeded", "pod/reader")

	tn.kubectl("patch", "pvc", "data", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
	tn.await("jsonpath={.status.capacity.storage}=2Gi", "pvc/data")
	volume := tn.kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	tn.await("jsonpath={.spec.capacity.storage}=2Gi", "pv/"+volume)
	tn.setsReclaimPolicy(volume, "Retain")
	tn.setsReclaimPolicy(volume, "Delete") // The driver deletes it in the end.

	tn.kubectl("label", "volumesnapshot", "monday", "team=database")
	driver.awaitSnapshots(t, "changed snapshot on the host", func(all []unstructured.Unstructured) bool {
		return len(all) == 1 && hasLabelValue(all[0].GetLabels(), "database")
	})
	tn.kubectl("delete", "volumesnapshot", "monday")
	driver.awaitSnapshots(t, "delete of the snapshot on the host", func(all []unstructured.Unstructured) bool { return len(all) == 0 })
}

// setsReclaimPolicy sets the reclaim policy of a volume, which reaches the host before the
// tenant reads that it is set.
func (tn *tenant) setsReclaimPolicy(volume, policy string) {
	tn.t.Helper()
	tn.kubectl("patch", "pv", volume, "-p", fmt.Sprintf(`{"spec":{"persistentVolumeReclaimPolicy":%q}}`, policy))
	host, err := hostClient.CoreV1().PersistentVolumes().Get(tn.t.Context(), volume, metav1.GetOptions{})
	if err != nil || string(host.Spec.PersistentVolumeReclaimPolicy) != policy {
		tn.t.Errorf("the host's volume has %q, want %q, %v", host.Spec.PersistentVolumeReclaimPolicy, policy, err)
	}
	if got := tn.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.persistentVolumeReclaimPolicy}"); got != policy {
		tn.t.Errorf("the tenant's volume has %q, want %q", got, policy)
	}
}

// isDenied checks that the tenant cannot apply a manifest, and reads why.
func (tn *tenant) isDenied(reason, manifest string) {
	tn.t.Helper()
	cmd := tn.command("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(manifest, "@IMAGE@", testImage))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), reason) {
		tn.t.Errorf("a manifest must be denied with %q: %v: %s", reason, err, out)
	}
}

// hasContent checks the virtual content of the snapshot monday, and that its volume has a
// claim of the tenant alone.
func (tn *tenant) hasContent() {
	tn.t.Helper()
	name := tn.kubectl("get", "volumesnapshot", "monday", "-o", "jsonpath={.status.boundVolumeSnapshotContentName}")
	eventually(tn.t, "virtual content "+name, func(context.Context) error {
		out, err := tn.command("get", "volumesnapshotcontents", "-o",
			"jsonpath={range .items[*]}{.metadata.name} {.spec.volumeSnapshotRef.namespace}/{.spec.volumeSnapshotRef.name} {.spec.driver} {.status.readyToUse}{end}").CombinedOutput()
		if want := name + " default/monday e2e-volume-driver.sublet.test true"; err != nil || string(out) != want {
			return fmt.Errorf("got %q, want %q, %w", out, want, err)
		}
		return nil
	})
}

// awaitSnapshots waits until the snapshots of the tenant on the host are as they should be.
func (d *volumeDriver) awaitSnapshots(t *testing.T, what string, isDone func([]unstructured.Unstructured) bool) {
	t.Helper()
	eventually(t, what, func(ctx context.Context) error {
		list, err := d.dynamic.Resource(snapshotResource("volumesnapshots")).Namespace(d.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if !isDone(list.Items) {
			return fmt.Errorf("the host has %v", list.Items)
		}
		return nil
	})
}

// hasLabelValue reports whether any label has a value.
func hasLabelValue(labels map[string]string, value string) bool {
	for _, v := range labels {
		if v == value {
			return true
		}
	}
	return false
}
