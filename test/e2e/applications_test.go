//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestApplications runs applications that ask much of a cluster.
func TestApplications(t *testing.T) {
	t.Parallel()
	const hosts = "sync.toHost.pods.rewriteHosts."
	tn := install(t, "apps", "tenant-apps", hosts+"enabled=true", hosts+"initContainer.image="+testImage)
	t.Run("Database", func(t *testing.T) { testDatabase(t, tn.in(t)) })
	t.Run("ReplacedPod", func(t *testing.T) { testReplacedPod(t, tn.in(t)) })
	t.Run("OddPods", func(t *testing.T) { testOddPods(t, tn.in(t)) })
	t.Run("NewConfig", func(t *testing.T) { testNewConfig(t, tn.in(t)) })
	t.Run("TokenWithNode", func(t *testing.T) { testTokenWithNode(t, tn.in(t)) })
}

// etcdSet is an etcd of three members that know each other by their full names.
const etcdSet = `
apiVersion: v1
kind: Service
metadata: {name: etcd}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: etcd}, ports: [{port: 2379, name: client}, {port: 2380, name: peer}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: etcd}
spec:
  serviceName: etcd
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: etcd}}
  template:
    metadata: {labels: {app: etcd}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: etcd
        image: "@IMAGE@"
        imagePullPolicy: IfNotPresent
        command:
        - sh
        - -c
        - |
          me=$(hostname -f)
          exec etcd --name ${me%%.*} --data-dir /data/etcd --initial-cluster-state new \
            --listen-peer-urls http://0.0.0.0:2380 --initial-advertise-peer-urls http://$me:2380 \
            --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://$me:2379 \
            --initial-cluster etcd-0=http://etcd-0.${me#*.}:2380,etcd-1=http://etcd-1.${me#*.}:2380,etcd-2=http://etcd-2.${me#*.}:2380
        readinessProbe: {httpGet: {path: /readyz, port: 2379}, periodSeconds: 1, timeoutSeconds: 5}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - {metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}}
`

// testDatabase runs a database whose members find each other by what hostname -f prints, while their
// host name is the short one. It replaces one of them while the others take writes.
func testDatabase(t *testing.T, tn *tenant) {
	tn.apply(etcdSet)
	tn.rollout("statefulset/etcd")
	encode := base64.StdEncoding.EncodeToString
	post := func(pod, path, body string) string {
		return tn.inPod(pod, "wget -q -O- --post-data '"+body+"' http://$(hostname -f):2379/v3/"+path)
	}
	putKey := func(pod, key string) {
		t.Helper()
		post(pod, "kv/put", `{"key":"`+encode([]byte(key))+`","value":"`+encode([]byte(key))+`"}`)
	}
	if name := strings.TrimSpace(tn.inPod("etcd-0", "hostname")); name != "etcd-0" {
		t.Errorf("the host name is %q", name)
	}
	putKey("etcd-0", "first")
	before := tn.kubectl("get", "pod", "etcd-1", "-o", "jsonpath={.metadata.uid}")
	tn.kubectl("delete", "pod", "etcd-1", "--wait=false")
	putKey("etcd-2", "second")
	eventually(t, "etcd-1 is replaced", func(ctx context.Context) error {
		pod, err := tn.virtual.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "etcd-1", metav1.GetOptions{})
		if err != nil || string(pod.UID) == before || !isReady(pod) {
			return errors.Join(err, errors.New("the pod is the first one, or not ready"))
		}
		return nil
	})
	for _, key := range []string{"first", "second"} {
		if got := post("etcd-1", "kv/range", `{"key":"`+encode([]byte(key))+`"}`); !strings.Contains(got, `"count":"1"`) {
			t.Errorf("the new member has no value of %s: %s", key, got)
		}
	}
	members := post("etcd-1", "cluster/member/list", "{}")
	for i := range 3 {
		if name := fmt.Sprintf("http://etcd-%d.etcd.default.svc.cluster.local:2380", i); !strings.Contains(members, name) {
			t.Errorf("no member is at %s: %s", name, members)
		}
	}
	tn.kubectl("delete", "statefulset/etcd", "service/etcd")
	tn.kubectl("delete", "pvc", "-l", "app=etcd")
}

const replaced = `
apiVersion: batch/v1
kind: Job
metadata: {name: replaced}
spec:
  backoffLimit: 3
  podReplacementPolicy: Failed
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
`

// testReplacedPod takes the host pod of a Job away, as with a lost node. The Job creates
// another pod only when the first has failed.
func testReplacedPod(t *testing.T, tn *tenant) {
	tn.apply(replaced)
	var first corev1.Pod
	eventually(t, "the Job runs a pod", func(ctx context.Context) error {
		pods, err := tn.podsOfJob(ctx)
		if err == nil && (len(pods) != 1 || pods[0].Status.Phase != corev1.PodRunning) {
			err = fmt.Errorf("%d pods", len(pods))
		}
		if err == nil {
			first = pods[0]
		}
		return err
	})
	host := tn.hostPodOf(first.Name)
	if err := hostClient.CoreV1().Pods(tn.namespace).Delete(t.Context(), host.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Job runs another pod", func(ctx context.Context) error {
		pods, err := tn.podsOfJob(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.UID != first.UID && p.Status.Phase == corev1.PodRunning }) {
			return fmt.Errorf("%d pods, none of them is another that runs", len(pods))
		}
		return nil
	})
	eventually(t, "the Job counts the first pod as failed", func(ctx context.Context) error {
		job, err := tn.virtual.BatchV1().Jobs(metav1.NamespaceDefault).Get(ctx, "replaced", metav1.GetOptions{})
		if err == nil && job.Status.Failed != 1 {
			err = fmt.Errorf("%+v", job.Status)
		}
		return err
	})
	tn.kubectl("delete", "job", "replaced")
}

// podsOfJob returns the pods of the Job.
func (tn *tenant) podsOfJob(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := tn.virtual.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=replaced"})
	if err != nil {
		return nil, err
	}
	return pods.Items, nil
}

const audience = `
apiVersion: v1
kind: Pod
metadata: {name: audience}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sh, -c, "cut -d. -f2 /tokens/vault"], volumeMounts: [{name: tokens, mountPath: /tokens}]}
  volumes:
  - {name: tokens, projected: {sources: [{serviceAccountToken: {path: vault, audience: vault, expirationSeconds: 600}}]}}
`

// testTokenWithNode reads the first token of a pod for an audience that is not the API
// server. It names the node.
func testTokenWithNode(t *testing.T, tn *tenant) {
	tn.apply(audience)
	tn.await("jsonpath={.status.phase}=Succeeded", "pod/audience")
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(tn.kubectl("logs", "audience")))
	if err != nil {
		t.Fatal(err)
	}
	node := tn.kubectl("get", "pod", "audience", "-o", "jsonpath={.spec.nodeName}")
	if !strings.Contains(string(payload), `"node":{"name":"`+node+`"`) {
		t.Errorf("the first token names no node: %s", payload)
	}
	tn.kubectl("delete", "pod", "audience")
}
