package host

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
)

func TestEncryptionKeys(t *testing.T) {
	t.Parallel()
	named := func(name, keys string) *corev1.Secret {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "tenant-shop"}}
		if keys != "" {
			secret.Data = map[string][]byte{"keys": []byte(keys)}
		}
		return secret
	}
	for _, c := range []struct {
		reason  string
		objects []runtime.Object
		secret  string
		create  bool
		fails   int // requests that the host does not answer first
		want    string
		none    bool
		creates bool
	}{
		{reason: "the first start creates a key", secret: "shop-encryption", create: true, want: "new", creates: true},
		{reason: "a later one takes it", secret: "shop-encryption", create: true, objects: []runtime.Object{named("shop-encryption", "a:x")}, want: "a:x"},
		{reason: "a store that has a key gets no new one", secret: "shop-encryption", none: true},
		{reason: "the operator's Secret is never created", secret: "theirs", create: true, none: true},
		{reason: "the operator's Secret is read", secret: "theirs", create: true, objects: []runtime.Object{named("theirs", "b:x")}, want: "b:x"},
		{reason: "a Secret without keys is not replaced", secret: "theirs", objects: []runtime.Object{named("theirs", "")}, want: ""},
		{reason: "the host is away for a moment", secret: "theirs", objects: []runtime.Object{named("theirs", "b:x")}, fails: 2, want: "b:x"},
	} {
		client := fake.NewClientset(c.objects...)
		fails := c.fails
		client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
			fails--
			return fails >= 0, nil, errors.New("connection refused")
		})
		keys := &EncryptionKeys{
			Client: client, Release: shop(), NewKeys: func() []byte { return []byte("new") },
			MayWrite: func() error { return nil }, Clock: clock.RealClock{},
		}
		got, err := keys.Load(t.Context(), c.secret, c.create)
		if err != nil || string(got) != c.want || (got == nil) != c.none {
			t.Errorf("%s: got %q, %v", c.reason, got, err)
		}
		created, err := client.CoreV1().Secrets("tenant-shop").Get(t.Context(), "shop-encryption", metav1.GetOptions{})
		if (err == nil && string(created.Data["keys"]) == "new") != c.creates {
			t.Errorf("%s: got Secret %v, %v", c.reason, created, err)
		}
		if _, isOfInstance := created.GetLabels()["app.kubernetes.io/instance"]; c.creates && (isOfInstance || created.Annotations["argocd.argoproj.io/sync-options"] != "Prune=false") {
			t.Errorf("%s: Argo CD would prune the Secret: %v", c.reason, created.ObjectMeta)
		}
		if c.creates && len(created.OwnerReferences) > 0 {
			t.Errorf("%s: the key must outlive the release, as its backups do", c.reason)
		}
	}
}

// TestEncryptionKeysDenied checks errors that do not go away by themselves.
func TestEncryptionKeysDenied(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset()
	client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "theirs", errors.New("no permission"))
	})
	keys := &EncryptionKeys{Client: client, Release: shop(), Clock: clock.RealClock{}}
	if _, err := keys.Load(t.Context(), "theirs", false); !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	away := fake.NewClientset()
	away.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	keys.Client = away
	if _, err := keys.Load(ctx, "theirs", false); err == nil {
		t.Error("a start that was stopped must not get an empty answer")
	}
}

// TestEncryptionKeysComeBack deletes the keys in use, after an operator has added one for the next start.
func TestEncryptionKeysComeBack(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	holder, _ := runHolder(t, client)
	keys := &EncryptionKeys{
		Client: client, Release: shop(), NewKeys: func() []byte { return []byte("key1:a") }, MayWrite: holder.MayWrite, Clock: clock.RealClock{},
	}
	if _, err := keys.Load(t.Context(), shop().Encryption(), true); err != nil {
		t.Fatal(err)
	}
	k := &SecretKeeper{
		Client: client, Namespace: shop().Namespace, Name: shop().Encryption(), Unowned: true, Holder: holder, Desired: keys, Clock: clock.RealClock{},
	}
	secrets := client.CoreV1().Secrets(shop().Namespace)
	edited, err := secrets.Get(t.Context(), shop().Encryption(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	edited.Data["keys"] = []byte("key2:b\nkey1:a")
	if edited, err = secrets.Update(t.Context(), edited, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	k.recordShown(edited)
	if _, err := k.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), shop().Encryption(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	k.recordShown(nil)
	if _, err := k.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	back, err := secrets.Get(t.Context(), shop().Encryption(), metav1.GetOptions{})
	if err != nil || string(back.Data["keys"]) != "key2:b\nkey1:a" || len(back.OwnerReferences) > 0 {
		t.Errorf("the keys are %v, %v", back, err)
	}
}
