package integration

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// shaped returns a pod that uses most of what is translated.
func (r *release) shaped() *corev1.Pod {
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	same := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web-0", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "hello"}},
		Spec: corev1.PodSpec{
			Hostname: "web-0", Subdomain: "web", SetHostnameAsFQDN: new(true), NodeName: r.namespace,
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.test/app:1",
				Env: []corev1.EnvVar{
					{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
					{Name: "NOTE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['note']"}}},
					{Name: "APP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
				},
				EnvFrom:   []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("settings")}}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
			}},
			Volumes: []corev1.Volume{
				{Name: "tokens", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "vault", Audience: "vault", ExpirationSeconds: new(int64(600))}},
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "api", ExpirationSeconds: new(int64(1200))}},
				}}}},
				{Name: "labels", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
					{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				}}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
					Spec: corev1.PersistentVolumeClaimSpec{
						AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
						Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
					},
				}}}},
			},
			Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				{TopologyKey: corev1.LabelHostname, LabelSelector: same, MatchLabelKeys: []string{"hash"}},
			}}},
			TopologySpreadConstraints: []corev1.TopologySpreadConstraint{
				{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: same, MatchLabelKeys: []string{"hash"}},
			},
		},
	}
}

// TestHostTakesShapedPods checks the translation of pods with a real API server: it takes
// the pod, its changes and the objects that it needs.
//
// It does not run in parallel with other tests of pods: each engine copies every pod of
// the virtual cluster that they share.
func TestHostTakesShapedPods(t *testing.T) {
	r := newRelease(t)
	newFarm(t, r)
	r.grow(t)
	e := r.start(t, r.host.memory(), r.allKinds()...)
	e.synced(t)
	virtual := r.shaped()
	if err := r.virtual.client.Create(t.Context(), virtual); err != nil {
		t.Fatal(err)
	}
	host := &corev1.Pod{}
	eventually(t, "running", func(ctx context.Context) error {
		if err := r.virtual.client.Get(ctx, r.virtualKey("web-0"), virtual); err != nil {
			return err
		}
		if virtual.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("phase %s\n%s", virtual.Status.Phase, e.status())
		}
		return r.host.client.Get(ctx, r.hostKey("web-0"), host)
	})
	if override := host.Spec.HostnameOverride; override == nil || *override != "web-0.web."+r.namespace+".svc.cluster.local" {
		t.Errorf("host name %v", override)
	}
	r.tokensAreGood(t, virtual, host)
	r.scratchIsSynced(t)
	r.changesArrive(t, virtual)
	r.deletePod(t, virtual)
}

// grow gives the node of the farm room, without which no pod on it can grow.
func (r *release) grow(t *testing.T) {
	t.Helper()
	node := &corev1.Node{}
	if err := r.host.client.Get(t.Context(), client.ObjectKey{Name: r.namespace}, node); err != nil {
		t.Fatal(err)
	}
	node.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	node.Status.Allocatable = node.Status.Capacity
	if err := r.host.client.Status().Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
}

// deletePod deletes a virtual pod and waits until it is gone.
func (r *release) deletePod(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if err := r.virtual.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "virtual pod gone", func(ctx context.Context) error {
		err := r.virtual.client.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there (%w)", err)
	})
}

// tokensAreGood asks the virtual API server what the tokens are worth that lie in
// the pod's Secret on the host.
func (r *release) tokensAreGood(t *testing.T, virtual, host *corev1.Pod) {
	t.Helper()
	secret := &corev1.Secret{}
	key := translate.Derived(translate.TokenRole)(r.cluster, r.virtualKey("web-0"))
	eventually(t, "token Secret", func(ctx context.Context) error { return r.host.client.Get(ctx, key, secret) })
	reviews := kubernetes.NewForConfigOrDie(r.virtual.plane.ClientConfig("reviewer", pki.GroupAdmins)).AuthenticationV1().TokenReviews()
	requests := translate.TokenRequests(virtual)
	if len(requests) != 3 {
		t.Errorf("the pod asks for %d tokens, want its own two and that of the API server's volume", len(requests))
	}
	for _, request := range requests {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: string(secret.Data[request.Key])}}
		if request.Audience != "" {
			review.Spec.Audiences = []string{request.Audience}
		}
		got, err := reviews.Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		user := got.Status.User
		if !got.Status.Authenticated || user.Username != "system:serviceaccount:"+r.namespace+":default" {
			t.Errorf("token for %q: user %q, %s", request.Audience, user.Username, got.Status.Error)
		}
		if claims, err := base64.RawURLEncoding.DecodeString(strings.Split(review.Spec.Token+"..", ".")[1]); err != nil ||
			!strings.Contains(string(claims), `"node":{"name":"`+virtual.Spec.NodeName+`"`) {
			t.Errorf("the first token for %q names no node: %s, %v", request.Audience, claims, err)
		}
		if pod := user.Extra["authentication.kubernetes.io/pod-uid"]; len(pod) != 1 || pod[0] != string(virtual.UID) {
			t.Errorf("token for %q is bound to pod %v", request.Audience, pod)
		}
	}
	for _, value := range host.Annotations {
		for _, token := range secret.Data {
			if strings.Contains(value, string(token)) {
				t.Errorf("a token is in an annotation")
			}
		}
	}
}

// scratchIsSynced waits for the claim of the pod's ephemeral volume.
func (r *release) scratchIsSynced(t *testing.T) {
	t.Helper()
	eventually(t, "claim of the ephemeral volume", func(ctx context.Context) error {
		claim := translate.EphemeralClaim("web-0", "scratch")
		if err := r.virtual.client.Get(ctx, r.virtualKey(claim), &corev1.PersistentVolumeClaim{}); err != nil {
			return fmt.Errorf("virtual: %w", err)
		}
		return r.host.client.Get(ctx, r.hostKey(claim), &corev1.PersistentVolumeClaim{})
	})
}

// changesArrive makes every change that a running pod takes.
func (r *release) changesArrive(t *testing.T, virtual *corev1.Pod) {
	t.Helper()
	pods := kubernetes.NewForConfigOrDie(r.virtual.plane.ClientConfig("tenant", pki.GroupAdmins)).CoreV1().Pods(r.namespace)
	steps := []func() error{
		func() (err error) {
			virtual.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("2")
			virtual, err = pods.UpdateResize(t.Context(), "web-0", virtual, metav1.UpdateOptions{})
			return err
		},
		func() (err error) {
			virtual.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "registry.test/debug:1"}}}
			virtual, err = pods.UpdateEphemeralContainers(t.Context(), "web-0", virtual, metav1.UpdateOptions{})
			return err
		},
		func() (err error) {
			virtual.Labels["tier"], virtual.Annotations["note"] = "front", "changed"
			virtual.Spec.Containers[0].Image = "registry.test/app:2"
			virtual.Spec.ActiveDeadlineSeconds = new(int64(3600))
			virtual.Spec.Tolerations = append(virtual.Spec.Tolerations, corev1.Toleration{Key: "late", Operator: corev1.TolerationOpExists})
			virtual, err = pods.Update(t.Context(), virtual, metav1.UpdateOptions{})
			return err
		},
	}
	for i, step := range steps {
		eventually(t, fmt.Sprintf("change %d", i), func(ctx context.Context) error {
			var err error
			if virtual, err = pods.Get(ctx, "web-0", metav1.GetOptions{}); err != nil {
				return err
			}
			return step()
		})
	}
	eventually(t, "changes on the host", func(ctx context.Context) error {
		host := &corev1.Pod{}
		if err := r.host.client.Get(ctx, r.hostKey("web-0"), host); err != nil {
			return err
		}
		var missing []error
		expect := func(what string, there bool) {
			if !there {
				missing = append(missing, errors.New(what))
			}
		}
		expect("resources", host.Spec.Containers[0].Resources.Requests.Cpu().Cmp(resource.MustParse("2")) == 0)
		expect("ephemeral container", len(host.Spec.EphemeralContainers) == 1)
		expect("label", host.Labels[translate.TenantLabel("tier")] == "front")
		expect("annotation", host.Annotations[translate.TenantLabel("note")] == "changed")
		expect("image", host.Spec.Containers[0].Image == "registry.test/app:2")
		expect("deadline", host.Spec.ActiveDeadlineSeconds != nil && *host.Spec.ActiveDeadlineSeconds == 3600)
		expect("toleration", host.Spec.Tolerations[len(host.Spec.Tolerations)-1].Key == "late")
		return errors.Join(missing...)
	})
}

// TestTenantIsToldWhyAPodCannotRun creates a pod that no host pod can be made of.
func TestTenantIsToldWhyAPodCannotRun(t *testing.T) {
	r := newRelease(t)
	e := r.start(t, r.host.memory(), r.allKinds()...)
	e.synced(t)
	pod := r.shaped()
	pod.Spec.Subdomain = strings.Repeat("s", 60)
	if err := r.virtual.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "event", func(ctx context.Context) error {
		list := &corev1.EventList{}
		if err := r.virtual.client.List(ctx, list, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		for _, event := range list.Items {
			if event.InvolvedObject.UID == pod.UID && strings.Contains(event.Message, "spec.setHostnameAsFQDN") {
				return nil
			}
		}
		return fmt.Errorf("no event among %d says it\n%s", len(list.Items), e.status())
	})
	r.deletePod(t, pod)
}
