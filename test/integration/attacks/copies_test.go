package attacks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// harmlessPodFields creates pods with fields that mean something else on the host.
func harmlessPodFields(t *testing.T, s *site) {
	s.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: releaseName}})
	eventually(t, "pods of the account are admitted", func(ctx context.Context) error {
		return s.tenant.Create(ctx, newPod("probe", func(p *corev1.Pod) { p.Spec.ServiceAccountName = releaseName }), client.DryRunAll)
	})
	for _, attack := range []struct {
		name, reason string
		change       func(*corev1.Pod)
		check        func(*corev1.Pod) bool
	}{
		{
			"priority", "it preempts pods of the host",
			func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" },
			func(h *corev1.Pod) bool { return h.Spec.PriorityClassName == "" && *h.Spec.Priority == 0 },
		},
		{
			"node-name", "it passes the host's scheduler by",
			func(p *corev1.Pod) { p.Spec.NodeName = s.host.Nodes()[0] },
			func(h *corev1.Pod) bool { return h.Spec.Affinity != nil && h.Spec.Affinity.NodeAffinity != nil },
		},
		{
			"account", "it runs with the permissions of the control plane",
			func(p *corev1.Pod) {
				p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = releaseName, new(true)
			},
			func(h *corev1.Pod) bool {
				return h.Spec.ServiceAccountName == releaseName+"-workload" && h.Spec.AutomountServiceAccountToken != nil &&
					!*h.Spec.AutomountServiceAccountToken && !hasAccountToken(h)
			},
		},
		{
			"scheduler", "it picks a scheduler of the host",
			func(p *corev1.Pod) { p.Spec.SchedulerName = "operators" },
			func(h *corev1.Pod) bool { return h.Spec.SchedulerName == corev1.DefaultSchedulerName },
		},
	} {
		pod, copied := newPod(attack.name, attack.change), &corev1.Pod{}
		s.create(t, pod)
		s.hostCopy(t, client.ObjectKeyFromObject(pod), copied)
		if !attack.check(copied) {
			t.Errorf("%s: %s", attack.reason, textOf(t, copied.Spec))
		}
	}
}

// hasAccountToken reports whether the host would mount a token of a host account.
func hasAccountToken(host *corev1.Pod) bool {
	for i := range host.Spec.Volumes {
		if projected := host.Spec.Volumes[i].Projected; projected != nil {
			for j := range projected.Sources {
				if projected.Sources[j].ServiceAccountToken != nil {
					return true
				}
			}
		}
	}
	return false
}

// harmlessReferences names the Secrets of the release by every way to name one.
func harmlessReferences(t *testing.T, s *site) {
	names := []string{releaseName + "-certs", releaseName + "-kubeconfig", releaseName + "-config"}
	for _, name := range names {
		s.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: name}, StringData: map[string]string{"a": "b"}})
	}
	local := corev1.LocalObjectReference{Name: names[1]}
	pod, copied := newPod("references", func(p *corev1.Pod) {
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{local}
		p.Spec.Volumes = []corev1.Volume{
			{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: names[0]}}},
			{Name: "b", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: local}},
			}}}},
		}
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: names[2]}}}}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: local, Key: "ca.key", Optional: new(true),
		}}}}
	}), &corev1.Pod{}
	s.create(t, pod)
	s.hostCopy(t, client.ObjectKeyFromObject(pod), copied)
	for _, name := range names {
		if strings.Contains(textOf(t, copied.Spec), `"`+name+`"`) {
			t.Errorf("the host pod names %s: %s", name, textOf(t, copied.Spec))
		}
	}
}

// harmlessAccountToken asks a controller of the host for a token of the control plane.
func harmlessAccountToken(t *testing.T, s *site) {
	s.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "grabbed"}})
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: virtualNamespace, Name: "grab", Annotations: map[string]string{corev1.ServiceAccountNameKey: "grabbed"},
		},
		Type: corev1.SecretTypeServiceAccountToken,
	}
	s.create(t, secret, newPod("grabber", withVolume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "grab"}})))
	copied := &corev1.Secret{}
	s.hostCopy(t, client.ObjectKeyFromObject(secret), copied)
	if copied.Type == corev1.SecretTypeServiceAccountToken || copied.Annotations[corev1.ServiceAccountNameKey] != "" {
		t.Errorf("the host Secret has the type %s and the annotations %v", copied.Type, copied.Annotations)
	}
}

// harmlessMarks sets the labels and annotations by which Sublet and add-ons of the host
// recognize objects.
func harmlessMarks(t *testing.T, s *site) {
	pod, copied := newPod("marks", func(p *corev1.Pod) {
		p.Labels = map[string]string{
			labels.Cluster: "forged", labels.Namespace: "kube-system", "app.kubernetes.io/name": "forged", "app.kubernetes.io/instance": releaseName,
			corev1.LabelTopologyZone: "forged",
		}
		p.Annotations = map[string]string{
			labels.VirtualName: "marks", labels.VirtualUID: "forged", labels.Place: "forged",
			"kubernetes.io/egress-bandwidth": "forged", "sidecar.istio.io/inject": "forged",
		}
	}), &corev1.Pod{}
	forged := mergePatch(`{"metadata":{"annotations":{"` + labels.HostUID + `":"forged"}}}`)
	s.create(t, pod)
	wantDenied(t, "the mark of a copy of the host", s.tenant.Patch(t.Context(), pod.DeepCopy(), forged), "only the syncer writes it")
	s.hostCopy(t, client.ObjectKeyFromObject(pod), copied)
	for _, marks := range []map[string]string{copied.Labels, copied.Annotations} {
		for key, value := range marks {
			if value == "forged" && !strings.HasPrefix(key, labels.TenantPrefix) {
				t.Errorf("the host pod has the forged mark %s", key)
			}
		}
	}
	if copied.Labels[labels.Namespace] != virtualNamespace {
		t.Errorf("the host pod is of namespace %s", copied.Labels[labels.Namespace])
	}
}

// distinctNames creates objects whose names run together where somebody joins or cuts them.
func distinctNames(t *testing.T, s *site) {
	long := strings.Repeat("n", 200)
	hosts := map[string]string{} // host name -> virtual key
	keys := []client.ObjectKey{
		{Namespace: "a", Name: "b-x-c"}, {Namespace: "a-x-b", Name: "c"}, {Namespace: "a", Name: long + "1"},
		{Namespace: "a", Name: long + "2"}, {Namespace: "a", Name: "d.e"}, {Namespace: "a", Name: "d-e"},
	}
	for _, namespace := range []string{"a", "a-x-b"} {
		s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		eventually(t, "pods of "+namespace, func(ctx context.Context) error {
			return s.tenant.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, &corev1.ServiceAccount{})
		})
	}
	for i, key := range keys {
		s.create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}, newPod(fmt.Sprintf("holder-%d", i), func(p *corev1.Pod) {
			p.Namespace = key.Namespace
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/never"}}
			withVolume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: key.Name}}})(p)
		}))
		copied := &corev1.ConfigMap{}
		s.hostCopy(t, key, copied)
		if other, ok := hosts[copied.Name]; ok {
			t.Errorf("%s and %s have one host copy", key, other)
		}
		hosts[copied.Name] = key.String()
	}
}

// untouchedRelease creates objects that are called like those of the release.
func untouchedRelease(t *testing.T, s *site) {
	before := s.releaseState(t)
	s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: hostNamespace}})
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: hostNamespace, Name: name} }
	s.create(t,
		&corev1.ConfigMap{ObjectMeta: meta(releaseName + "-anchor"), Data: map[string]string{"evil": "1"}},
		&corev1.Secret{ObjectMeta: meta(releaseName + "-certs"), StringData: map[string]string{"ca.key": "evil"}},
		&corev1.Service{ObjectMeta: meta(releaseName + "-dns"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 53}}}},
		&corev1.ServiceAccount{ObjectMeta: meta(releaseName + "-workload")},
	)
	eventually(t, "pods of the namespace", func(ctx context.Context) error {
		return s.tenant.Get(ctx, client.ObjectKey{Namespace: hostNamespace, Name: "default"}, &corev1.ServiceAccount{})
	})
	pod := newPod("referrer", func(p *corev1.Pod) {
		p.Namespace = hostNamespace
		withVolume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: releaseName + "-certs"}}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: releaseName + "-anchor"}}},
		}}})(p)
	})
	s.create(t, pod)
	s.hostCopy(t, client.ObjectKeyFromObject(pod), &corev1.Pod{})
	s.hostCopy(t, client.ObjectKey{Namespace: hostNamespace, Name: releaseName + "-certs"}, &corev1.Secret{})
	s.hostCopy(t, client.ObjectKey{Namespace: hostNamespace, Name: releaseName + "-dns"}, &corev1.Service{})
	if after := s.releaseState(t); after != before {
		t.Errorf("objects of the release have changed:\n%s\nwere\n%s", after, before)
	}
}

// releaseState returns what the objects of the release are.
func (s *site) releaseState(t *testing.T) string {
	t.Helper()
	var all []string
	for name, object := range map[string]client.Object{
		"-anchor": &corev1.ConfigMap{}, "-certs": &corev1.Secret{}, "-kubeconfig": &corev1.Secret{}, "-dns": &corev1.Service{}, "-workload": &corev1.ServiceAccount{},
	} {
		if err := s.owner.Get(t.Context(), client.ObjectKey{Namespace: hostNamespace, Name: releaseName + name}, object); err != nil {
			t.Fatal(err)
		}
		text := string(object.GetUID())
		switch o := object.(type) {
		case *corev1.ConfigMap:
			text += textOf(t, o.Data)
		case *corev1.Secret:
			text += textOf(t, o.Data)
		case *corev1.Service:
			text += textOf(t, o.Spec)
		}
		all = append(all, name+" "+text)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// droppedSources creates pods that need the host to act with its own identity.
func droppedSources(t *testing.T, s *site) {
	for name, change := range map[string]func(*corev1.Pod){
		"resource-claim": func(p *corev1.Pod) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: new("any")}}
		},
		"pod-certificate": withVolume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
			PodCertificate: &corev1.PodCertificateProjection{SignerName: "example.com/x", KeyType: "ED25519", CredentialBundlePath: "p"},
		}}}}),
		"trust-bundle": withVolume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
			ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{SignerName: new("example.com/x"), LabelSelector: &metav1.LabelSelector{}, Path: "p"},
		}}}}),
	} {
		pod := newPod(name, change)
		if err := s.tenant.Create(t.Context(), pod); apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			t.Logf("%s: %v", name, err)
			continue // Denied is as good.
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		eventually(t, "the tenant learns that "+name+" is not supported, or it is dropped", func(ctx context.Context) error {
			copied := &corev1.Pod{}
			found, err := s.findCopy(ctx, client.ObjectKeyFromObject(pod), copied)
			if err != nil {
				return err
			}
			if found {
				for _, word := range []string{"resourceClaims", "podCertificate", "clusterTrustBundle"} {
					if strings.Contains(textOf(t, copied.Spec), word) {
						t.Errorf("the host pod has %s", word)
					}
				}
				return nil
			}
			var events corev1.EventList
			if err := s.tenant.List(ctx, &events, client.InNamespace(virtualNamespace)); err != nil {
				return err
			}
			for i := range events.Items {
				if events.Items[i].InvolvedObject.Name == name {
					return nil
				}
			}
			return fmt.Errorf("neither a copy nor an Event of %s", name)
		})
	}
}

// hiddenIdentity looks for what identifies the machine in a node.
func hiddenIdentity(t *testing.T, s *site) {
	name := s.host.Nodes()[1]
	host := &corev1.Node{}
	if err := s.owner.Get(t.Context(), client.ObjectKey{Name: name}, host); err != nil {
		t.Fatal(err)
	}
	changed := host.DeepCopy()
	changed.Annotations["example.com/join-token"] = "secret"
	changed.Labels["example.com/seen"] = "yes"
	if err := s.owner.Patch(t.Context(), changed, client.MergeFrom(host)); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{}
	eventually(t, "the change has reached the tenant", func(ctx context.Context) error {
		err := s.tenant.Get(ctx, client.ObjectKey{Name: name}, node)
		if err == nil && node.Labels["example.com/seen"] == "" {
			err = fmt.Errorf("labels %v", node.Labels)
		}
		return err
	})
	info := node.Status.NodeInfo
	if node.Annotations["example.com/join-token"] != "" || info.MachineID+info.SystemUUID+info.BootID+node.Spec.ProviderID != "" || len(node.Status.Images) > 0 {
		t.Errorf("the tenant reads the annotations %v, %+v, %s and %d images", node.Annotations, info, node.Spec.ProviderID, len(node.Status.Images))
	}
}

// warnings records the warnings of requests that run one after another.
type warnings struct{ texts []string }

// HandleWarningHeaderWithContext implements [rest.WarningHandlerWithContext].
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	if code == 299 {
		w.texts = append(w.texts, text)
	}
}

// warnedKinds creates an object that has an effect on the host alone, and that is not synced.
func warnedKinds(t *testing.T, s *site) {
	heard := &warnings{}
	config := rest.CopyConfig(s.config)
	config.WarningHandlerWithContext = heard
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "front"}, Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
	}}
	if err := c.Create(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	if len(heard.texts) != 1 || !strings.Contains(heard.texts[0], "not synced") {
		t.Errorf("got the warnings %q, want one that it is not synced", heard.texts)
	}
}
