package host

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// TestSecretsComeBack deletes and changes the Secrets of a release while the
// server runs.
func TestSecretsComeBack(t *testing.T) {
	t.Parallel()
	bundle, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	operator := &OperatorSecret{Release: shop(), CA: bundle.CA(), Anchor: anchorNow}
	for name, tc := range map[string]struct {
		secret  string
		desired WantSecret
		key     string // one that is put right
	}{
		"Certs":      {"shop-certs", &CertsSecret{Name: "shop-certs", Data: bundle.Secret()}, ""},
		"Kubeconfig": {"shop-kubeconfig", &KubeconfigSecret{Name: "shop-kubeconfig", Bundle: bundle, Server: "https://shop", Context: "shop", Clock: clock.RealClock{}}, "config"},
		"Parts":      {"shop-kubeconfig", &KubeconfigSecret{Name: "shop-kubeconfig", Bundle: bundle, Server: "https://shop", Context: "shop", Clock: clock.RealClock{}}, "client-key"},
		"Operator":   {"shop-operator", operator, "ca.crt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(chartObjects(nil)...)
			holder, _ := runHolder(t, client)
			keeper := &SecretKeeper{
				Client: client, Namespace: shop().Namespace, Name: tc.secret, Holder: holder, Desired: tc.desired, Clock: clock.RealClock{},
			}
			go func() { _ = keeper.Run(t.Context()) }()
			secrets := client.CoreV1().Secrets(shop().Namespace)
			var last *corev1.Secret
			exists := func() bool {
				secret, err := secrets.Get(t.Context(), tc.secret, metav1.GetOptions{})
				if err != nil && !apierrors.IsNotFound(err) {
					t.Fatal(err)
				}
				last = secret
				return err == nil
			}
			eventually(t, "the Secret is created", exists)
			eventually(t, "the watch", func() bool { return watches(client, "secrets") > 0 })

			if err := secrets.Delete(t.Context(), tc.secret, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a deleted Secret comes back", exists)

			if tc.key != "" {
				broken := last.DeepCopy()
				broken.Data[tc.key] = []byte("by hand")
				if _, err := secrets.Update(t.Context(), broken, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				eventually(t, "a changed Secret is put right", func() bool { return exists() && string(last.Data[tc.key]) != "by hand" })
			}
			setAnchor(t, client, "anchor-again", nil)
			eventually(t, "the new anchor owns it", func() bool {
				return exists() && last.OwnerReferences[0].UID == types.UID("anchor-again")
			})
			if checks := keeper.Checks(); !checks[0].Healthy {
				t.Errorf("all is well: %+v", checks)
			}
		})
	}
}

// TestKeeperLimitsUpdates gives the keeper another content each time. A tenant can cause that, with a policy that shortens the
// life of tokens.
func TestKeeperLimitsUpdates(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	holder, _ := runHolder(t, client)
	desired := &changingSecret{}
	keeper := &SecretKeeper{
		Client: client, Namespace: shop().Namespace, Name: "ci", Holder: holder, Desired: desired, Clock: clocktesting.NewFakeClock(time.Now()),
	}
	go func() { _ = keeper.Run(t.Context()) }()
	eventually(t, "the check names the limit", func() bool {
		check := keeper.Checks()[0]
		return !check.Healthy && strings.Contains(check.Details[0], "too often")
	})
	updates := 0
	for _, action := range client.Actions() {
		if action.Matches("update", "secrets") {
			updates++
		}
	}
	if updates != updateBurst {
		t.Errorf("%d updates, want %d", updates, updateBurst)
	}
}

// changingSecret wants another content at each look.
type changingSecret struct{ looks int }

func (c *changingSecret) Want(context.Context, *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	c.looks++
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop().Namespace, Name: "ci"}, Data: map[string][]byte{"token": []byte(strconv.Itoa(c.looks))},
	}, time.Minute, nil
}

// TestKeeperWaitsForHolder holds that a replica which is not proven writes nothing.
func TestKeeperWaitsForHolder(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	holder := &Holder{client: client, release: shop(), identity: pod0("new"), clock: clock.RealClock{}}
	keeper := &SecretKeeper{
		Client: client, Namespace: shop().Namespace, Name: "shop-certs", Holder: holder,
		Desired: &CertsSecret{Name: "shop-certs"}, Clock: clock.RealClock{},
	}
	keeper.recordShown(nil)
	if _, err := keeper.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(client.Actions()) != 0 {
		t.Errorf("the host got %v", client.Actions())
	}
	holder.confirm(getAnchor(t, client), Record{"shop-0", "new", 1})
	if _, err := keeper.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets(shop().Namespace).Get(t.Context(), "shop-certs", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestOperatorToken(t *testing.T) {
	t.Parallel()
	o := &OperatorSecret{Release: shop(), CA: []byte("ca"), Anchor: anchorNow}
	if o.Allows("") {
		t.Error("nobody may pass before there is a token")
	}
	generated, _, err := o.Want(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Allows(string(generated.Data["token"])) || o.Allows("other") {
		t.Error("the generated token counts, and no other")
	}
	if wanted, _, _ := o.Want(t.Context(), generated); wanted != nil {
		t.Error("a Secret with a token is right")
	}
	generated.Data["token"] = []byte("an-operators-own-token-of-any-form\n")
	if wanted, _, _ := o.Want(t.Context(), generated); wanted != nil || !o.Allows("an-operators-own-token-of-any-form") {
		t.Error("an operator may set a token")
	}
	generated.Data["token"] = []byte("short")
	if wanted, _, _ := o.Want(t.Context(), generated); wanted == nil || o.Allows("short") {
		t.Error("one that can be guessed is replaced")
	}
}

func anchorNow() metav1.OwnerReference { return shop().AnchorOwner("anchor-now") }

// TestOperatorTokenOfEarlierRelease installs a release again while the host still has the Secret of the
// earlier one: whoever has read its token is not let in.
func TestOperatorTokenOfEarlierRelease(t *testing.T) {
	t.Parallel()
	const known = "a-token-that-somebody-knows"
	left := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-operator", OwnerReferences: []metav1.OwnerReference{shop().AnchorOwner("anchor-before")}},
		Data:       map[string][]byte{"token": []byte(known), "ca.crt": []byte("ca")},
	}
	o := &OperatorSecret{Release: shop(), CA: []byte("ca"), Anchor: anchorNow}
	if o.Observe(left); o.Allows(known) {
		t.Error("a follower lets the token in")
	}
	wanted, _, err := o.Want(t.Context(), left)
	if err != nil || wanted == nil || string(wanted.Data["token"]) == known || o.Allows(known) {
		t.Errorf("the leader lets the token in, or keeps it: %v, %v", wanted, err)
	}
	moved := wanted.DeepCopy()
	moved.OwnerReferences = left.OwnerReferences
	if again, _, _ := o.Want(t.Context(), moved); again != nil {
		t.Error("a token in use stays under another anchor")
	}
	left.OwnerReferences = nil
	if again, _, _ := o.Want(t.Context(), left); again != nil || !o.Allows(known) {
		t.Error("an operator may write the Secret with a token")
	}
}

// TestSecretOfChart fills a Secret that the chart created, and creates none.
func TestSecretOfChart(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	holder, _ := runHolder(t, client)
	keeper := &SecretKeeper{
		Client: client, Namespace: "build", Name: "ci", Holder: holder, OfChart: true,
		Desired: &CertsSecret{Name: "ci", Data: map[string][]byte{"key": []byte("value")}}, Clock: clock.RealClock{},
	}
	eventually(t, "the holder leads", func() bool { return holder.MayLead() == nil })
	keeper.recordShown(nil)
	if _, err := keeper.ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "build/ci does not exist") {
		t.Errorf("a Secret that the chart did not create: %v", err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ci", Namespace: "build"}}
	secret, err := client.CoreV1().Secrets("build").Create(t.Context(), secret, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	keeper.Desired = fixedSecret{Data: map[string][]byte{"key": []byte("value")}}
	keeper.recordShown(secret)
	if _, err := keeper.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret, err = client.CoreV1().Secrets("build").Get(t.Context(), "ci", metav1.GetOptions{})
	if err != nil || string(secret.Data["key"]) != "value" || len(secret.OwnerReferences) != 0 {
		t.Errorf("the Secret is %+v: %v", secret, err)
	}
}

// fixedSecret wants the same content always.
type fixedSecret corev1.Secret

func (f fixedSecret) Want(context.Context, *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	return (*corev1.Secret)(&f), 0, nil
}
