//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// staticVolume is a volume of the host that holds data, and its class. Another one is of
	// somebody else.
	staticVolume = "e2e-static"
	staticOther  = "e2e-static-other"
)

// hostVolumes are what an operator makes by hand: a class without a provisioner, and volumes.
const hostVolumes = `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: e2e-static}
provisioner: kubernetes.io/no-provisioner
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-static, labels: {disk: orders}}
spec:
  storageClassName: e2e-static
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: /var/lib/e2e-static, type: DirectoryOrCreate}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-static-other, labels: {disk: orders}}
spec:
  storageClassName: e2e-static-other
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: /var/lib/e2e-static-other, type: DirectoryOrCreate}
`

const usesStaticVolume = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: orders}
spec:
  storageClassName: e2e-static
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
  selector: {matchLabels: {disk: orders}}
---
apiVersion: v1
kind: Pod
metadata: {name: orders}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'echo kept > /data/orders && grep -q kept /data/orders']
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: orders}}]
`

const tenantVolume = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: mine}
spec:
  storageClassName: e2e-static
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  csi: {driver: csi.example.com, volumeHandle: any-disk}
`

// TestVolumesMadeByHand binds a tenant's claim to a volume that the operator has made by hand
// for its class. The tenant gets no volume of another class, and makes none.
func TestVolumesMadeByHand(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() {
		cmd := hostKubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-")
		cmd.Stdin = strings.NewReader(hostVolumes)
		_ = cmd.Run()
	})
	cmd := hostKubectl("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(hostVolumes)
	mustRun(t, cmd)
	tn := install(t, "staticvolumes", "tenant-staticvolumes", "policies.volumes.staticClasses={e2e-static}", "sync.toHost.persistentVolumes.enabled=true")

	tn.isDenied("policies.volumes.staticClasses", tenantVolume)
	claim, _, _ := strings.Cut(usesStaticVolume, "---")
	tn.isDenied("policies.volumes.staticClasses", strings.Replace(claim, staticVolume, `""`, 1))
	tn.isDenied("e2e-static", strings.Replace(claim, staticVolume, staticOther, 1))
	tn.isDenied("spec.volumeName", strings.Replace(claim, "  selector:", "  volumeName: "+staticOther+"\n  selector:", 1))

	tn.apply(usesStaticVolume)
	tn.await("jsonpath={.status.phase}=Succeeded", "pod/orders")
	tn.await("jsonpath={.status.phase}=Bound", "pvc/orders")
	if got := tn.kubectl("get", "pvc", "orders", "-o", "jsonpath={.spec.volumeName}"); got != staticVolume {
		t.Errorf("the claim has volume %q, want %q", got, staticVolume)
	}
	tn.setsReclaimPolicy(staticVolume, "Delete")
	tn.setsReclaimPolicy(staticVolume, "Retain")
	tn.keepsVolume(t, staticVolume)

	tn.kubectl("delete", "pod,pvc", "orders")
	eventually(t, "volume that is released and kept", func(ctx context.Context) error {
		volume, err := hostClient.CoreV1().PersistentVolumes().Get(ctx, staticVolume, metav1.GetOptions{})
		if err != nil || volume.Status.Phase != corev1.VolumeReleased {
			return fmt.Errorf("the volume is %v, %w", volume.Status, err)
		}
		return nil
	})
}

// keepsVolume checks that the account of the control plane changes nothing but the reclaim policy of a volume. The
// writes are dry runs.
func (tn *tenant) keepsVolume(t *testing.T, name string) {
	t.Helper()
	config := rest.CopyConfig(hostConfig)
	config.Impersonate.UserName = "system:serviceaccount:" + tn.namespace + ":" + tn.release
	account := kubernetes.NewForConfigOrDie(config)
	for patch, allowed := range map[string]bool{
		`{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`:         true,
		`{"spec":{"capacity":{"storage":"2Gi"}}}`:                     false,
		`{"spec":{"storageClassName":"other"}}`:                       false,
		`{"metadata":{"annotations":{"example.com/note":"of mine"}}}`: false,
	} {
		_, err := account.CoreV1().PersistentVolumes().Patch(t.Context(), name, types.MergePatchType, []byte(patch),
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if allowed && err != nil || !allowed && (err == nil || !strings.Contains(err.Error(), "volumes."+tn.release+"."+tn.namespace)) {
			t.Errorf("%s: allowed %t, got %v", patch, allowed, err)
		}
	}
}
