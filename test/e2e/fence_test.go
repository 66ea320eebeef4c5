//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
)

// TestFence uses the account of the control plane as somebody would who has taken the process
// over. The writes are dry runs, which the host's admission judges like all others.
func TestFence(t *testing.T) {
	t.Parallel()
	tn := install(t, "fence", "tenant-fence", "sync.toHost.ingresses.enabled=true", "policies.ingresses.hosts={*.example.com}")
	tn.apply(webManifest)
	tn.rollout("deployment/web")
	names := release.Release{Name: tn.release, Namespace: tn.namespace}
	config := rest.CopyConfig(hostConfig)
	config.Impersonate.UserName = "system:serviceaccount:" + tn.namespace + ":" + names.ServiceAccount()
	account := kubernetes.NewForConfigOrDie(config)
	f := &fence{names: names, account: account, dryRun: []string{metav1.DryRunAll}}
	copies, err := hostClient.CoreV1().Pods(tn.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil || len(copies.Items) == 0 {
		t.Fatalf("the tenant's pods have copies: %v", err)
	}
	f.copy = &copies.Items[0]
	own, err := hostClient.AppsV1().StatefulSets(tn.namespace).Get(t.Context(), tn.release, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.image = own.Spec.Template.Spec.Containers[0].Image
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: tn.namespace, Name: "operators"}}
	_, err = hostClient.CoreV1().ConfigMaps(tn.namespace).Create(t.Context(), foreign, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	for name, c := range f.cases() {
		t.Run(name, func(t *testing.T) {
			err := c.do(t.Context())
			switch {
			case c.denied == "" && err != nil:
				t.Errorf("%s: %v", c.reason, err)
			case c.denied != "" && (err == nil || !strings.Contains(err.Error(), names.Fence()) || !strings.Contains(err.Error(), c.denied)):
				t.Errorf("%s: the policy must deny it with %q: %v", c.reason, c.denied, err)
			}
		})
	}
}

// fence is a release and the account that its policy bounds.
type fence struct {
	names   release.Release
	account kubernetes.Interface
	copy    *corev1.Pod // of a pod of the tenant
	image   string      // of the control plane
	dryRun  []string
}

// fenceCase is one write of the account.
type fenceCase struct {
	reason string
	do     func(context.Context) error
	denied string // a part of the message, empty if it is allowed
}

// newCopy returns a new host pod like that of a tenant, changed.
func (f *fence) newCopy(change func(*corev1.Pod)) func(context.Context) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:   strings.TrimRight(f.copy.Name[:len(f.copy.Name)-26], "-") + "-" + strings.Repeat("a", 26),
			Labels: f.copy.Labels, Annotations: f.copy.Annotations, OwnerReferences: f.copy.OwnerReferences,
		},
		Spec: *f.copy.Spec.DeepCopy(),
	}
	pod.Spec.NodeName = ""
	change(pod)
	return func(ctx context.Context) error {
		_, err := f.account.CoreV1().Pods(f.names.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: f.dryRun})
		return err
	}
}

// owners returns the owners of the copy, the first with another version, and pods as further ones.
func (f *fence) owners(version string, pods ...string) []metav1.OwnerReference {
	owners := slices.Clone(f.copy.OwnerReferences)
	owners[0].APIVersion = version
	for _, pod := range pods {
		owners = append(owners, metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: f.copy.UID})
	}
	return owners
}

// deletes returns a delete of a Secret, a ConfigMap or a pod.
func (f *fence) deletes(resource, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		options := metav1.DeleteOptions{DryRun: f.dryRun}
		core := f.account.CoreV1()
		switch resource {
		case "secrets":
			return core.Secrets(f.names.Namespace).Delete(ctx, name, options)
		case "configmaps":
			return core.ConfigMaps(f.names.Namespace).Delete(ctx, name, options)
		case "pods":
			return core.Pods(f.names.Namespace).Delete(ctx, name, options)
		}
		return fmt.Errorf("unknown resource %s", resource)
	}
}

// evict requests the eviction of the copy, with a parameter that makes it a dry run or not.
func (f *fence) evict(ctx context.Context, parameter string) error {
	return f.account.CoreV1().RESTClient().Post().Namespace(f.names.Namespace).Resource("pods").Name(f.copy.Name).
		SubResource("eviction").Param(parameter, metav1.DryRunAll).
		Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: f.names.Namespace, Name: f.copy.Name}}).Do(ctx).Error()
}

// cases returns what the account tries.
func (f *fence) cases() map[string]fenceCase {
	const hashed = "copies with hashed names"
	all := map[string]fenceCase{
		"copy":        {"a copy like those of the syncer", f.newCopy(func(*corev1.Pod) {}), ""},
		"delete copy": {"its own copy", f.deletes("pods", f.copy.Name), ""},
		"account": {"the account of the control plane has its permissions", f.newCopy(func(p *corev1.Pod) {
			p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount = f.names.ServiceAccount(), f.names.ServiceAccount()
		}), f.names.Workload()},
		"default account": {"other accounts may have permissions too", f.newCopy(func(p *corev1.Pod) {
			p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount = "default", "default"
		}), f.names.Workload()},
		"name":         {"no name that an operator would use", f.newCopy(func(p *corev1.Pod) { p.Name = "operators" }), hashed},
		"label":        {"without the label nobody deletes it with the release", f.newCopy(func(p *corev1.Pod) { p.Labels = nil }), "has the label"},
		"owner":        {"the same without the owner", f.newCopy(func(p *corev1.Pod) { p.OwnerReferences = nil }), "has the label"},
		"neighbour":    {"the label of another virtual cluster", f.newCopy(func(p *corev1.Pod) { p.Labels = map[string]string{labels.Cluster: "another"} }), "has the label"},
		"alien owner":  {"no garbage collector resolves it, so the copy would stay", f.newCopy(func(p *corev1.Pod) { p.OwnerReferences = f.owners("example.com/v1") }), "only owner"},
		"second owner": {"the copy would stay while that owner does", f.newCopy(func(p *corev1.Pod) { p.OwnerReferences = f.owners("v1", f.copy.Name) }), "only owner"},
		"host files":   {"root on the node by its files", f.newCopy(func(p *corev1.Pod) { p.Spec.Volumes = append(p.Spec.Volumes, hostRoot()) }), "no files of a node"},
		"host network": {"the network of the node has the kubelet in it", f.newCopy(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), "share no namespace"},
		"privileged": {"root on the node by devices", f.newCopy(func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
		}), "no privileged container"},
		"anchor":            {"with it goes all that the tenant has", f.deletes("configmaps", f.names.Anchor()), hashed},
		"foreign":           {"an object of the operator", f.deletes("configmaps", "operators"), hashed},
		"control plane pod": {"its own pod is the operator's", f.deletes("pods", f.names.Pod(0)), hashed},
	}
	maps.Copy(all, f.selectorCases())
	maps.Copy(all, f.imageCases())
	maps.Copy(all, f.trafficCases())
	for _, name := range []string{f.names.Certs(), f.names.Kubeconfig(), f.names.Operator(), f.names.Config()} {
		all["delete "+name] = fenceCase{"it only ever writes it", f.deletes("secrets", name), "the control plane"}
	}
	all["record its state"] = fenceCase{"the anchor has it", func(ctx context.Context) error {
		_, err := f.account.CoreV1().ConfigMaps(f.names.Namespace).Patch(ctx, f.names.Anchor(), types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"example.com/note":"x"}}}`), metav1.PatchOptions{DryRun: f.dryRun})
		return err
	}, ""}
	all["anchor finalizer"] = fenceCase{"the anchor stays, and all that the tenant has with it", func(ctx context.Context) error {
		_, err := f.account.CoreV1().ConfigMaps(f.names.Namespace).Patch(ctx, f.names.Anchor(), types.MergePatchType,
			[]byte(`{"metadata":{"finalizers":["example.com/stay"]}}`), metav1.PatchOptions{DryRun: f.dryRun})
		return err
	}, "of the anchor are the operator's"}
	all["token"] = fenceCase{"the host would fill in a token of the account", func(ctx context.Context) error {
		_, err := f.account.CoreV1().Secrets(f.names.Namespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: "token-" + strings.Repeat("a", 26), Labels: f.copy.Labels, OwnerReferences: f.copy.OwnerReferences,
				Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"},
			},
			Type: corev1.SecretTypeServiceAccountToken,
		}, metav1.CreateOptions{DryRun: f.dryRun})
		return err
	}, "no token of an account"}
	all["ask to evict"] = fenceCase{"a question to the budgets changes nothing", func(ctx context.Context) error { return f.evict(ctx, "dryRun") }, ""}
	all["evict"] = fenceCase{"the syncer deletes, it does not evict", func(ctx context.Context) error { return f.evict(ctx, "unused") }, "has the label"}
	all["exec"] = fenceCase{"its own pod is not the tenant's", func(ctx context.Context) error {
		return f.account.CoreV1().RESTClient().Post().Namespace(f.names.Namespace).Resource("pods").Name(f.names.Pod(0)).
			SubResource("exec").Param("command", "sh").Do(ctx).Error()
	}, hashed}
	return all
}

// selectorCases returns writes of objects that select pods.
func (f *fence) selectorCases() map[string]fenceCase {
	const foreign = "selects pods of its own"
	metadata := metav1.ObjectMeta{
		Name:   "selecting-" + strings.Repeat("a", 26),
		Labels: f.copy.Labels, OwnerReferences: f.copy.OwnerReferences,
	}
	own := map[string]string{labels.Cluster: f.copy.Labels[labels.Cluster], "example.com/app": "web"}
	create := func(spec corev1.ServiceSpec) func(context.Context) error {
		object := &corev1.Service{ObjectMeta: metadata, Spec: spec}
		return func(ctx context.Context) error {
			_, err := f.account.CoreV1().Services(f.names.Namespace).Create(ctx, object, metav1.CreateOptions{DryRun: f.dryRun})
			return err
		}
	}
	service := func(selector map[string]string) func(context.Context) error {
		return create(corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Port: 80}}})
	}
	policy := func(selector map[string]string) func(context.Context) error {
		object := &networkingv1.NetworkPolicy{ObjectMeta: metadata, Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: selector}}}
		return func(ctx context.Context) error {
			_, err := f.account.NetworkingV1().NetworkPolicies(f.names.Namespace).Create(ctx, object, metav1.CreateOptions{DryRun: f.dryRun})
			return err
		}
	}
	return map[string]fenceCase{
		"service": {"a copy like those of the syncer", service(own), ""},
		"external IP": {"all nodes would send it the traffic of the address", create(corev1.ServiceSpec{
			Selector: own, Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: []string{"203.0.113.7"},
		}), "no traffic of other addresses"},
		"service without":     {"the tenant keeps its endpoints", service(nil), ""},
		"service of others":   {"it would draw their traffic", service(map[string]string{"app": "database"}), foreign},
		"service of others 2": {"the label of another virtual cluster", service(map[string]string{labels.Cluster: "another"}), foreign},
		"external name": {"controllers of the host would connect to any name", create(corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: "kubernetes.default.svc",
		}), "no names of others"},
		"policy":           {"a copy like those of the syncer", policy(own), ""},
		"policy of all":    {"it would open the control plane too", policy(nil), foreign},
		"policy of others": {"it would open their pods", policy(map[string]string{"app": "database"}), foreign},
	}
}

// trafficCases returns writes of objects that lead the traffic of Services.
func (f *fence) trafficCases() map[string]fenceCase {
	const foreign = "leads traffic to copies"
	own, theirs := "web-"+strings.Repeat("b", 26), "database"
	metadata := metav1.ObjectMeta{Name: "leading-" + strings.Repeat("a", 26), Labels: maps.Clone(f.copy.Labels), OwnerReferences: f.copy.OwnerReferences}
	slice := func(service string) func(context.Context) error {
		object := &discoveryv1.EndpointSlice{ObjectMeta: *metadata.DeepCopy(), AddressType: discoveryv1.AddressTypeIPv4}
		object.Labels[discoveryv1.LabelServiceName] = service
		return func(ctx context.Context) error {
			_, err := f.account.DiscoveryV1().EndpointSlices(f.names.Namespace).Create(ctx, object, metav1.CreateOptions{DryRun: f.dryRun})
			return err
		}
	}
	ingress := func(service, other, secret string) func(context.Context) error {
		backend := func(name string) networkingv1.IngressBackend {
			return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 80}}}
		}
		object := &networkingv1.Ingress{ObjectMeta: metadata, Spec: networkingv1.IngressSpec{
			DefaultBackend: new(backend(service)), TLS: []networkingv1.IngressTLS{{SecretName: secret}},
			Rules: []networkingv1.IngressRule{{Host: "web.example.com", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: backend(other)}},
			}}}},
		}}
		return func(ctx context.Context) error {
			_, err := f.account.NetworkingV1().Ingresses(f.names.Namespace).Create(ctx, object, metav1.CreateOptions{DryRun: f.dryRun})
			return err
		}
	}
	return map[string]fenceCase{
		"slice":                     {"a copy like those of the syncer", slice(own), ""},
		"slice of others":           {"it would draw their traffic", slice(theirs), foreign},
		"ingress":                   {"a copy like those of the syncer", ingress(own, own, own), ""},
		"ingress to others":         {"it would publish their Service", ingress(theirs, own, own), foreign},
		"ingress to others by path": {"the same in a rule", ingress(own, theirs, own), foreign},
		"ingress with their Secret": {"it would use their certificate", ingress(own, own, theirs), foreign},
	}
}

// imageCases returns pods with the image of the control plane, which the nodes have.
func (f *fence) imageCases() map[string]fenceCase {
	const own = "with their own credentials"
	image, _, _ := strings.Cut(f.image, ":")
	copyWithImage := func(image string, pull corev1.PullPolicy) func(context.Context) error {
		return f.newCopy(func(p *corev1.Pod) { p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image, pull })
	}
	update := func(image string) func(context.Context) error {
		patch := fmt.Sprintf(`{"spec":{"containers":[{"name":%q,"image":%q}]}}`, f.copy.Spec.Containers[0].Name, image)
		return func(ctx context.Context) error {
			_, err := f.account.CoreV1().Pods(f.names.Namespace).Patch(ctx, f.copy.Name, types.StrategicMergePatchType,
				[]byte(patch), metav1.PatchOptions{DryRun: f.dryRun})
			return err
		}
	}
	return map[string]fenceCase{
		"image by update":         {"the node has it", update(f.image), own},
		"another image by update": {"an update like those of the syncer", update("registry.example.com/web:2"), ""},

		"image":           {"the node has it", copyWithImage(f.image, corev1.PullNever), own},
		"image by digest": {"the node may have it", copyWithImage(image+"@sha256:"+strings.Repeat("a", 64), corev1.PullIfNotPresent), own},
		"image by ID":     {"the node has it", copyWithImage("sha256:aaaa", corev1.PullIfNotPresent), own},
		"image pulled":    {"a virtual cluster in a virtual cluster", copyWithImage(f.image, corev1.PullAlways), ""},
		"another image":   {"another name with this beginning", copyWithImage(image+"-other:1", corev1.PullNever), ""},
	}
}

// hostRoot returns the volume of all files of a node.
func hostRoot() corev1.Volume {
	return corev1.Volume{Name: "root", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}
}
