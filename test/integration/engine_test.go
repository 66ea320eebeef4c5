package integration

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// configMaps returns a kind of the virtual side, confined to one virtual namespace.
func (r *release) configMaps() syncer.Kind {
	return syncer.Define("configmaps", syncer.Resource[*corev1.ConfigMap, *corev1.ConfigMap]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Want: func(_ syncer.Scope, virtual, _ *corev1.ConfigMap) (bool, error) {
			return virtual.Namespace == r.namespace && virtual.Name != "kube-root-ca.crt", nil
		},
		Down: func(_ syncer.Scope, virtual, host *corev1.ConfigMap) error {
			host.Data = maps.Clone(virtual.Data)
			return nil
		},
	})
}

// engine is a running engine.
type engine struct {
	*syncer.Engine
	stop func()
}

// start starts an engine for the release.
func (r *release) start(t testing.TB, host *rest.Config, kinds ...syncer.Kind) *engine {
	t.Helper()
	return r.startOn(t, r.virtual.memory(), host, kinds...)
}

// synced waits for the engine's first view of both sides.
func (e *engine) synced(t testing.TB) {
	t.Helper()
	select {
	case <-e.Synced():
	case <-time.After(patience):
		t.Fatalf("the engine does not come up:\n%s", e.status())
	}
}

// status returns the checks of the engine as text.
func (e *engine) status() string {
	report := syncz.NewReport(e.Checks()...)
	var text strings.Builder
	fmt.Fprintf(&text, "healthy: %t\n", report.Healthy)
	for _, check := range report.Checks {
		fmt.Fprintf(&text, "%s: %t: %s %q\n", check.Name, check.Healthy, check.Message, check.Details)
	}
	return text.String()
}

// putMap creates a virtual ConfigMap, or changes the one that is there.
func (r *release) putMap(t *testing.T, name, value string) *corev1.ConfigMap {
	t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name}, Data: map[string]string{"k": value}}
	err := r.virtual.client.Create(t.Context(), m)
	if apierrors.IsAlreadyExists(err) {
		err = r.virtual.client.Patch(t.Context(), m, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"k":"`+value+`"}}`)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// has waits until the host copy has a value, and returns it.
func (r *release) has(t *testing.T, name, value string) *corev1.ConfigMap {
	t.Helper()
	m := &corev1.ConfigMap{}
	eventually(t, "host copy of "+name, func(ctx context.Context) error {
		if err := r.host.client.Get(ctx, r.hostKey(name), m); err != nil {
			return err
		}
		if m.Data["k"] != value {
			return fmt.Errorf("has %q, want %q", m.Data["k"], value)
		}
		return nil
	})
	return m
}

// waitForNoCopy waits until there is no host copy.
func (r *release) waitForNoCopy(t *testing.T, name string) {
	t.Helper()
	eventually(t, "host copy of "+name, func(ctx context.Context) error {
		err := r.host.client.Get(ctx, r.hostKey(name), &corev1.ConfigMap{})
		if err == nil {
			return fmt.Errorf("is still there")
		}
		return client.IgnoreNotFound(err)
	})
}

func TestLifeOfACopy(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	e := r.start(t, r.host.memory(), r.configMaps())
	e.synced(t)

	m := r.putMap(t, "cart", "1")
	host := r.has(t, "cart", "1")
	if diff := cmp.Diff([]metav1.OwnerReference{r.cluster.Anchor}, host.OwnerReferences); diff != "" {
		t.Errorf("A host copy must belong to the anchor (-want +got):\n%s", diff)
	}
	if got := host.Annotations[labels.VirtualUID]; got != string(m.UID) {
		t.Errorf("A host copy must name its virtual object %s, got %s", m.UID, got)
	}
	r.putMap(t, "cart", "2")
	if again := r.has(t, "cart", "2"); again.UID != host.UID {
		t.Error("A change must patch the copy, not replace it")
	}
	if err := r.host.client.Delete(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a copy that somebody deleted", func(ctx context.Context) error {
		return r.host.client.Get(ctx, r.hostKey("cart"), &corev1.ConfigMap{})
	})
	if err := r.virtual.client.Get(t.Context(), r.virtualKey("cart"), m); err != nil {
		t.Errorf("What is lost on the host is the host's loss: %v", err)
	}
	second := r.has(t, "cart", "2")
	if err := r.virtual.client.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r.putMap(t, "cart", "3")
	if third := r.has(t, "cart", "3"); third.UID == second.UID {
		t.Error("An object that was made anew must get a new copy")
	}
	if err := r.virtual.client.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r.waitForNoCopy(t, "cart")
	eventually(t, "all is synced", func(context.Context) error {
		if status := e.status(); !strings.HasPrefix(status, "healthy: true") {
			return fmt.Errorf("/syncz says:\n%s", status)
		}
		return nil
	})
}

func TestRestartInTheMiddle(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	first := r.start(t, r.host.memory(), r.configMaps())
	first.synced(t)
	const count = 60
	for i := range count / 2 {
		r.putMap(t, fmt.Sprintf("m-%d", i), "1")
	}
	first.stop() // Somewhere on the way.
	for i := range count {
		r.putMap(t, fmt.Sprintf("m-%d", i), "2")
	}
	gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "m-0"}}
	if err := r.virtual.client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	second := r.start(t, r.host.memory(), r.configMaps())
	second.synced(t)
	for i := 1; i < count; i++ {
		r.has(t, fmt.Sprintf("m-%d", i), "2")
	}
	r.waitForNoCopy(t, "m-0")
	eventually(t, "one copy of each object", func(ctx context.Context) error {
		copies := &corev1.ConfigMapList{}
		err := r.host.client.List(ctx, copies, client.InNamespace(r.namespace), client.HasLabels{labels.Cluster})
		if err == nil && len(copies.Items) != count-1 {
			err = fmt.Errorf("%d objects have %d copies", count-1, len(copies.Items))
		}
		return err
	})
}

func TestForeignObject(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	key := r.hostKey("cart")
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: map[string]string{"k": "theirs"}}
	if err := r.host.client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	r.start(t, r.host.memory(), r.configMaps()).synced(t)
	m := r.putMap(t, "cart", "ours")
	eventually(t, "an event for the tenant", func(ctx context.Context) error {
		events := &corev1.EventList{}
		if err := r.virtual.client.List(ctx, events, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.InvolvedObject.UID == m.UID && strings.Contains(event.Message, "was not created for this object") {
				return nil
			}
		}
		return fmt.Errorf("there is none among %d", len(events.Items))
	})
	now := r.has(t, "cart", "theirs")
	if now.ResourceVersion != foreign.ResourceVersion {
		t.Error("A foreign object must not be touched")
	}
	if err := r.host.client.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	r.has(t, "cart", "ours")
}

func TestHostAwayAtTheStart(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	config, line := r.host.wire(t)
	line.cut()
	e := r.start(t, config, r.configMaps())
	r.putMap(t, "cart", "1")
	eventually(t, "what /syncz says", func(context.Context) error {
		if status := e.status(); !strings.Contains(status, "host: false: Host API server unreachable") {
			return fmt.Errorf("it says %s", status)
		}
		return nil
	})
	line.mend()
	e.synced(t)
	r.has(t, "cart", "1")
}

func TestHostAwayLater(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	config, line := r.host.wire(t)
	e := r.start(t, config, r.configMaps())
	e.synced(t)
	r.putMap(t, "stays", "1")
	gone := r.putMap(t, "goes", "1")
	before := r.has(t, "stays", "1")
	r.has(t, "goes", "1")

	line.cut()
	r.putMap(t, "stays", "2")
	r.putMap(t, "comes", "1")
	if err := r.virtual.client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what /syncz says", func(context.Context) error {
		if status := e.status(); !strings.Contains(status, "host: false: Host API server unreachable") || !strings.Contains(status, "wait for the host") {
			return fmt.Errorf("it says %s", status)
		}
		return nil
	})
	line.mend()
	if after := r.has(t, "stays", "2"); after.UID != before.UID {
		t.Error("Nothing must be replaced because the host was away")
	}
	r.has(t, "comes", "1")
	r.waitForNoCopy(t, "goes")
}

func TestAnotherStore(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	first := r.start(t, r.host.memory(), r.configMaps())
	first.synced(t)
	m := r.putMap(t, "cart", "1")
	r.has(t, "cart", "1")
	anchor := &corev1.ConfigMap{}
	eventually(t, "the recorded store", func(ctx context.Context) error {
		if err := r.host.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: "shop-anchor"}, anchor); err != nil {
			return err
		}
		if anchor.Annotations[labels.Store] == "" || anchor.Annotations[labels.StoreRevision] == "" {
			return fmt.Errorf("it is not recorded: %v", anchor.Annotations)
		}
		return nil
	})
	first.stop()

	// The store comes back as another one that lacks the object.
	if err := r.virtual.client.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	store := anchor.Annotations[labels.Store]
	r.annotate(t, anchor, labels.Store, "another")
	second := r.start(t, r.host.memory(), r.configMaps())
	second.synced(t)
	eventually(t, "what /syncz says", func(context.Context) error {
		if status := second.status(); !strings.Contains(status, "is not the recorded one") || !strings.Contains(status, "1 objects are on hold") {
			return fmt.Errorf("it says %s", status)
		}
		return nil
	})
	r.putMap(t, "new", "1")
	r.has(t, "new", "1") // Creating continues.
	r.has(t, "cart", "1")
	r.annotate(t, anchor, labels.AcceptStore, store)
	r.waitForNoCopy(t, "cart")
	r.has(t, "new", "1")
}

// annotate sets an annotation of a host object.
func (r *release) annotate(t *testing.T, object client.Object, key, value string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if err := r.host.client.Patch(t.Context(), object, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

func TestMissingRightStopsOneKindOnly(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "syncer"}, Rules: rules}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: role.ObjectMeta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: r.namespace}},
	}
	for _, object := range []client.Object{role, binding} {
		if err := r.host.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	secrets := syncer.Define("secrets", syncer.Resource[*corev1.Secret, *corev1.Secret]{
		Names: translate.Hashed,
		Want: func(_ syncer.Scope, virtual, _ *corev1.Secret) (bool, error) {
			return virtual.Namespace == r.namespace, nil
		},
	})
	e := r.start(t, r.host.plane.ClientConfig(r.namespace), secrets, r.configMaps())
	r.putMap(t, "cart", "1")
	r.has(t, "cart", "1")
	eventually(t, "what /syncz says", func(context.Context) error {
		status := e.status()
		if !strings.Contains(status, "secrets: false: Caches are not synced. [\"host Secret") || !strings.Contains(status, "forbidden") ||
			!strings.Contains(status, "configmaps: true: Synced") || !strings.HasPrefix(status, "healthy: false") {
			return fmt.Errorf("it says %s", status)
		}
		return nil
	})
	role.Rules[0].Resources = []string{"configmaps", "secrets"}
	if err := r.host.client.Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "key"}}
	if err := r.virtual.client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a Secret, once there is a right", func(ctx context.Context) error {
		return r.host.client.Get(ctx, r.hostKey("key"), &corev1.Secret{})
	})
}

func TestAddAndDropWhileRunning(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	e := r.start(t, r.host.memory())
	e.synced(t)
	r.putMap(t, "cart", "1")
	if err := e.Add(r.configMaps()); err != nil {
		t.Fatal(err)
	}
	if err := e.Add(r.configMaps()); err == nil {
		t.Error("A name must not be given twice")
	}
	r.has(t, "cart", "1")
	e.Drop("configmaps")
	r.putMap(t, "cart", "2")
	if err := e.Add(r.configMaps()); err != nil {
		t.Fatal(err)
	}
	r.has(t, "cart", "2")
}
