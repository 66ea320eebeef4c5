package attacks

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestSettingsAgainstAttacks tries what a setting is against that is not on by default, or
// has a limit that is too high for a test.
func TestSettingsAgainstAttacks(t *testing.T) {
	t.Parallel()
	const copies = 3
	s := newSite(t, map[string]any{
		"images":  map[string]any{"alwaysPull": true},
		"objects": map[string]any{"count": map[string]any{"configmaps": copies}},
	})
	t.Run("CachedImage", func(t *testing.T) { pulledImage(t, s) })
	t.Run("Copies", func(t *testing.T) { limitedCopies(t, s, copies) })
	// The last one: the host then refuses all pods.
	t.Run("Retries", func(t *testing.T) { limitedRetries(t, s) })
}

// pulledImage asks for an image that only the node has. The host's kubelet pulls it with the
// credentials of the pod, which has none.
func pulledImage(t *testing.T, s *site) {
	pod, copied := newPod("cached", func(p *corev1.Pod) {
		p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "registry.example.com/another:1", ImagePullPolicy: corev1.PullIfNotPresent}}
	}), &corev1.Pod{}
	s.create(t, pod)
	s.hostCopy(t, client.ObjectKeyFromObject(pod), copied)
	for _, container := range append(copied.Spec.InitContainers, copied.Spec.Containers...) {
		if container.ImagePullPolicy != corev1.PullAlways {
			t.Errorf("the host pulls the image of %s by the policy %s", container.Name, container.ImagePullPolicy)
		}
	}
	if len(copied.Spec.ImagePullSecrets) > 0 {
		t.Errorf("the host pod has the credentials %v", copied.Spec.ImagePullSecrets)
	}
}

// limitedCopies lets pods refer to more ConfigMaps than may be on the host.
func limitedCopies(t *testing.T, s *site, limit int) {
	pod := newPod("hoarder", func(p *corev1.Pod) {
		for i := range 2 * limit {
			name := fmt.Sprintf("hoard-%d", i)
			s.create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: name}})
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
			}})
		}
	})
	s.create(t, pod)
	eventually(t, "the tenant learns of the limit", func(ctx context.Context) error {
		var events corev1.EventList
		if err := s.tenant.List(ctx, &events, client.InNamespace(virtualNamespace)); err != nil {
			return err
		}
		for i := range events.Items {
			if strings.Contains(events.Items[i].Message, "policies.objects.count.configmaps") {
				return nil
			}
		}
		return fmt.Errorf("no Event of %d names the setting", len(events.Items))
	})
	var found corev1.ConfigMapList
	err := s.owner.List(t.Context(), &found, client.InNamespace(hostNamespace), client.HasLabels{labels.Cluster})
	if err != nil || len(found.Items) > limit {
		t.Errorf("%d copies, %v; want at most %d", len(found.Items), err, limit)
	}
}

// limitedRetries creates pods that the host refuses. However many they are, they are retried
// together every 5 s, after a burst of 5.
func limitedRetries(t *testing.T, s *site) {
	const pods, retries, least = 60, 9, 10 * time.Second
	s.fillHost(t, 0)
	for i := range pods {
		s.create(t, newPod(fmt.Sprintf("refused-%d", i), nil))
	}
	eventually(t, "the host has refused each pod and has its token", func(ctx context.Context) error {
		var all corev1.PodList
		if err := s.tenant.List(ctx, &all, client.InNamespace(virtualNamespace)); err != nil {
			return err
		}
		refused := 0
		for i := range all.Items {
			for _, condition := range all.Items[i].Status.Conditions {
				if condition.Type == corev1.PodScheduled && condition.Reason == "HostRefused" {
					refused++
				}
			}
		}
		var secrets corev1.SecretList
		if err := s.owner.List(ctx, &secrets, client.InNamespace(hostNamespace), client.HasLabels{labels.Cluster}); err != nil {
			return err
		}
		secrets.Items = slices.DeleteFunc(secrets.Items, func(secret corev1.Secret) bool {
			return !strings.HasPrefix(secret.Annotations[labels.VirtualName], "refused-")
		})
		if tokens := len(secrets.Items); refused < pods || tokens < pods {
			return fmt.Errorf("%d pods are refused, %d have a token", refused, tokens)
		}
		return nil
	})
	begin, first := time.Now(), s.creates(t)
	eventually(t, "some are retried", func(context.Context) error {
		if got := s.creates(t) - first; got < retries {
			return fmt.Errorf("%d retries", got)
		}
		return nil
	})
	if took := time.Since(begin); took < least {
		t.Errorf("%d retries took %s, want at least %s", retries, took, least)
	}
}

// fillHost lets the host take no more pods than these.
func (s *site) fillHost(t *testing.T, pods int64) *corev1.ResourceQuota {
	t.Helper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: hostNamespace, Name: "full"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI)}},
	}
	if err := s.owner.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	// Admission reads quotas from a cache.
	eventually(t, "the quota is in force", func(ctx context.Context) error {
		probe := newPod("probe", func(p *corev1.Pod) { p.Namespace = hostNamespace })
		if err := s.owner.Create(ctx, probe, client.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
			return fmt.Errorf("the host answers %w", err)
		}
		return nil
	})
	return quota
}

// TestPodsOlderThanThePolicy turns on a policy when there are pods that it does not allow.
// One that runs stays, and is reported. One that waits never gets a host copy.
func TestPodsOlderThanThePolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]any{"podSecurityStandard": "privileged"})
	privileged := withContext(corev1.SecurityContext{Privileged: new(true)})
	running, waiting := newPod("runs", privileged), newPod("waits", privileged)
	s.create(t, running)
	eventually(t, "one pod runs", func(ctx context.Context) error {
		err := s.tenant.Get(ctx, client.ObjectKeyFromObject(running), running)
		if err == nil && running.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("phase %s", running.Status.Phase)
		}
		return err
	})
	quota := s.fillHost(t, 1)
	s.create(t, waiting)
	s.awaitEvent(t, waiting.Name, "exceeded quota")
	s.restart(t, map[string]any{"podSecurityStandard": "baseline"})
	if err := s.owner.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	s.awaitEvent(t, waiting.Name, standard)
	s.awaitEvent(t, running.Name, standard)
	if found, err := s.findCopy(t.Context(), client.ObjectKeyFromObject(waiting), &corev1.Pod{}); err != nil || found {
		t.Errorf("the pod that waited has a host copy: %t, %v", found, err)
	}
	s.hostCopy(t, client.ObjectKeyFromObject(running), &corev1.Pod{})
}

// awaitEvent waits for an Event about an object with that text.
func (s *site) awaitEvent(t *testing.T, name, text string) {
	t.Helper()
	eventually(t, "an Event of "+name+" with "+text, func(ctx context.Context) error {
		var events corev1.EventList
		if err := s.tenant.List(ctx, &events, client.InNamespace(virtualNamespace)); err != nil {
			return err
		}
		var texts []string
		for i := range events.Items {
			if events.Items[i].InvolvedObject.Name != name {
				continue
			}
			if strings.Contains(events.Items[i].Message, text) {
				return nil
			}
			texts = append(texts, events.Items[i].Message)
		}
		return fmt.Errorf("only %q", texts)
	})
}

// creates returns how many objects the control plane has tried to create on the host.
func (s *site) creates(t *testing.T) int {
	t.Helper()
	metrics, err := s.kube.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), `sublet_host_requests_total{verb="create"} `); ok {
			count, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(count)
		}
	}
	t.Fatalf("no metric of creates: %v", lines.Err())
	return 0
}
