package attacks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	podsecurity "k8s.io/pod-security-admission/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
	"github.com/sublet-dev/sublet/test/await"
)

// patience is how long a test waits for what takes seconds.
const patience = await.Limit

// releaseName and hostNamespace are those of the release. virtualNamespace is where the
// tenant attacks.
const (
	releaseName      = "shop"
	hostNamespace    = "tenant-attacks"
	virtualNamespace = metav1.NamespaceDefault
)

// site is a virtual cluster with the default values, as its tenant and the operator of its
// host see it.
type site struct {
	host    *sim.Host
	release *tenant.Release
	server  *tenant.Server
	config  *rest.Config  // the tenant's
	tenant  client.Client // cluster-admin of the virtual cluster
	kube    kubernetes.Interface
	owner   client.Client // administrator of the host
}

// newSite starts a host with two nodes and installs the chart with values of policies.
func newSite(t *testing.T, policies map[string]any) *site {
	t.Helper()
	return installSite(t, "", map[string]any{"policies": policies})
}

// installSite starts a host with two nodes and installs the chart with values, in a namespace
// that enforces a Pod Security Standard. An empty one enforces none.
func installSite(t *testing.T, enforced string, values map[string]any) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host, err := sim.Start(ctx, sim.Options{Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	owner, err := client.New(host.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if enforced != "" {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: hostNamespace, Labels: map[string]string{podsecurity.EnforceLevelLabel: enforced}}}
		if err := owner.Create(ctx, namespace); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join("..", "..", "..")
	release, err := tenant.Install(ctx, host, tenant.Options{
		Chart: filepath.Join(root, "chart"), Server: filepath.Join(root, "bin", "sublet-server"), Release: releaseName, Namespace: hostNamespace,
		Values: values,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{host: host, release: release, owner: owner}
	if s.server, err = release.Run(ctx, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.server.Stop() })
	s.connect(ctx, t)
	eventually(t, "the virtual cluster takes pods and has its nodes", func(ctx context.Context) error {
		var nodes corev1.NodeList
		if err := s.tenant.List(ctx, &nodes); err != nil || len(nodes.Items) != 2 {
			return fmt.Errorf("%d nodes, %w", len(nodes.Items), err)
		}
		return s.tenant.Get(ctx, client.ObjectKey{Namespace: virtualNamespace, Name: "default"}, &corev1.ServiceAccount{})
	})
	return s
}

// connect waits for the server and makes the clients of the tenant.
func (s *site) connect(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := s.server.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.config, err = s.server.Config(ctx); err != nil {
		t.Fatal(err)
	}
	s.config.ContentType, s.config.AcceptContentTypes = "", "" // Some objects are no built-in types.
	if s.tenant, err = client.New(s.config, client.Options{}); err != nil {
		t.Fatal(err)
	}
	if s.kube, err = kubernetes.NewForConfig(s.config); err != nil {
		t.Fatal(err)
	}
}

// restart starts the server again with other values of policies.
func (s *site) restart(t *testing.T, policies map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.server.Stop()
	if err := s.release.Upgrade(ctx, map[string]any{"policies": policies}); err != nil {
		t.Fatal(err)
	}
	next, err := s.server.Again()
	if err != nil {
		t.Fatal(err)
	}
	s.server = next
	s.connect(ctx, t)
}

// newPod returns a pod that the default policies and the standard restricted allow, changed.
func newPod(name string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65534)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{Name: "main", Image: "registry.example.com/main:1", SecurityContext: newContext()}},
		},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

// newContext returns the security context of a container that the standard restricted allows.
func newContext() *corev1.SecurityContext {
	return &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
}

// create creates objects as the tenant.
func (s *site) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := s.tenant.Create(t.Context(), object); err != nil {
			t.Fatalf("cannot create %T %s: %v", object, object.GetName(), err)
		}
	}
}

// hostCopy waits for the host copy of a virtual object and reads it into an object.
func (s *site) hostCopy(t *testing.T, virtual client.ObjectKey, into client.Object) {
	t.Helper()
	eventually(t, "the host copy of "+virtual.String(), func(ctx context.Context) error {
		found, err := s.findCopy(ctx, virtual, into)
		if err == nil && !found {
			err = errors.New("there is none")
		}
		return err
	})
}

// findCopy reads the host copy of a virtual object. found is false if there is none.
func (s *site) findCopy(ctx context.Context, virtual client.ObjectKey, into client.Object) (found bool, err error) {
	kind, err := s.owner.GroupVersionKindFor(into)
	if err != nil {
		return false, err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	if err := s.owner.List(ctx, list, client.InNamespace(hostNamespace), client.HasLabels{labels.Cluster}); err != nil {
		return false, err
	}
	for i := range list.Items {
		marks := list.Items[i].Annotations
		if marks[labels.VirtualName] == virtual.Name && marks[labels.VirtualNamespace] == virtual.Namespace {
			return true, s.owner.Get(ctx, client.ObjectKeyFromObject(&list.Items[i]), into)
		}
	}
	return false, nil
}

// textOf returns an object as JSON.
func textOf(t *testing.T, object any) string {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantDenied checks that a request is denied for a reason.
func wantDenied(t *testing.T, reason string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want a denial with %q", reason, err, want)
	}
}

// eventually waits until check returns nil.
func eventually(t testing.TB, what string, check func(ctx context.Context) error) {
	t.Helper()
	await.Until(t, what, check)
}
