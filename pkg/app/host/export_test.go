package host

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// tokenWorld is a virtual cluster that issues tokens.
type tokenWorld struct {
	client *fake.Clientset
	clock  *clocktesting.FakeClock
	issued int
	// refused are tokens that are not accepted.
	refused map[string]bool
}

func newTokenWorld(t *testing.T) *tokenWorld {
	t.Helper()
	w := &tokenWorld{
		client: fake.NewClientset(), refused: map[string]bool{},
		clock: clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)),
	}
	w.client.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "token" {
			return false, nil, nil
		}
		w.issued++
		create := action.(clienttesting.CreateAction)
		request := create.GetObject().(*authenticationv1.TokenRequest)
		claims := fmt.Sprintf(`{"exp":%d,"jti":"%d"}`, w.clock.Now().Add(time.Duration(*request.Spec.ExpirationSeconds)*time.Second).Unix(), w.issued)
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
			Token: "head." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature",
		}}, nil
	})
	w.client.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		return true, &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{
			Authenticated: !w.refused[review.Spec.Token],
			User:          authenticationv1.UserInfo{Username: "system:serviceaccount:kube-system:deployer"},
		}}, nil
	})
	return w
}

func (w *tokenWorld) newToken() *AccountToken {
	return &AccountToken{Virtual: w.client, Namespace: "kube-system", Name: "deployer", ClusterRole: "edit", Clock: w.clock}
}

// exportStep is a change, and whether the Secret is written after it.
type exportStep struct {
	reason string
	change func(current *corev1.Secret)
	writes bool
}

// walk goes through steps and checks that each leaves a Secret that is right.
func walk(t *testing.T, desired WantSecret, steps []exportStep) *corev1.Secret {
	t.Helper()
	var current *corev1.Secret
	for _, step := range steps {
		step.change(current)
		wanted, again, err := desired.Want(t.Context(), current)
		if err != nil {
			t.Fatalf("%s: %v", step.reason, err)
		}
		if (wanted != nil) != step.writes {
			t.Errorf("%s: written: %t", step.reason, wanted != nil)
		}
		if wanted != nil {
			current = wanted
		}
		if again <= 0 || again > tokenCheck {
			t.Errorf("%s: it is checked again after %s", step.reason, again)
		}
	}
	return current
}

func TestKubeconfigWithToken(t *testing.T) {
	t.Parallel()
	w := newTokenWorld(t)
	bundle, err := pki.New(w.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	k := &KubeconfigSecret{
		Name: "ci", Bundle: bundle, Server: "https://shop.example.com", Context: "shop", Clock: w.clock, Token: w.newToken(),
	}
	current := walk(t, k, []exportStep{
		{"The first start writes it.", func(*corev1.Secret) {}, true},
		{"A restart leaves it alone.", func(*corev1.Secret) {}, false},
		{"An account that a tenant deleted has a new token.", func(current *corev1.Secret) {
			if err := w.client.CoreV1().ServiceAccounts("kube-system").Delete(t.Context(), "deployer", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			w.refused[string(current.Data["token"])] = true
		}, true},
		{"A binding that is gone is created, and the token stays.", func(*corev1.Secret) {
			if err := w.client.RbacV1().ClusterRoleBindings().Delete(t.Context(), "sublet:export:kube-system:deployer:edit", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"Half of its life is no reason.", func(*corev1.Secret) { w.clock.Step(pki.TenantValidity / 2) }, false},
		{"The last third is one.", func(*corev1.Secret) { w.clock.Step(pki.TenantValidity / 4) }, true},
		{"Without verification, the authority goes.", func(*corev1.Secret) { k.Insecure = true }, true},
		{"That stays too.", func(*corev1.Secret) {}, false},
		{"A token that was changed by hand is put right.", func(current *corev1.Secret) { current.Data["token"] = []byte("mine") }, true},
	})
	config, err := clientcmd.RESTConfigFromKubeConfig(current.Data["config"])
	if err != nil {
		t.Fatal(err)
	}
	if config.BearerToken != string(current.Data["token"]) || !config.Insecure || len(config.CAData) > 0 || len(config.CertData) > 0 {
		t.Errorf("the kubeconfig is %+v", config)
	}
	if _, err := w.client.RbacV1().ClusterRoleBindings().Get(t.Context(), "sublet:export:kube-system:deployer:edit", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestArgoCDSecret(t *testing.T) {
	t.Parallel()
	w := newTokenWorld(t)
	bundle, err := pki.New(w.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := &ArgoCDSecret{
		Name: "sublet.tenant-shop.shop", Labels: map[string]string{"env": "dev", argoCDLabel: "mine"}, Bundle: bundle,
		Server: "https://shop.tenant-shop.svc", Cluster: "tenant-shop/shop", Token: w.newToken(),
	}
	current := walk(t, a, []exportStep{
		{"The first start writes it.", func(*corev1.Secret) {}, true},
		{"A restart leaves it alone.", func(*corev1.Secret) {}, false},
		{"A label that is gone is put back.", func(current *corev1.Secret) { delete(current.Labels, argoCDLabel) }, true},
		{"Another name is put right.", func(current *corev1.Secret) { current.Data["name"] = []byte("mine") }, true},
		{"A token that is not accepted is replaced.", func(current *corev1.Secret) {
			var config argoCDConfig
			if err := json.Unmarshal(current.Data["config"], &config); err != nil {
				t.Fatal(err)
			}
			w.refused[config.BearerToken] = true
		}, true},
		{"The token is renewed in its last third.", func(*corev1.Secret) { w.clock.Step(3 * pki.TenantValidity / 4) }, true},
	})
	var config struct {
		BearerToken     string `json:"bearerToken"`
		TLSClientConfig struct {
			Insecure bool   `json:"insecure"`
			CAData   string `json:"caData"`
		} `json:"tlsClientConfig"`
	}
	if err := json.Unmarshal(current.Data["config"], &config); err != nil {
		t.Fatal(err)
	}
	if config.BearerToken == "" || config.TLSClientConfig.CAData != base64.StdEncoding.EncodeToString(bundle.CA()) {
		t.Errorf("Argo CD gets %s", current.Data["config"])
	}
	want := map[string]string{"env": "dev", "argocd.argoproj.io/secret-type": "cluster"}
	if diff := cmp.Diff(want, current.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// TestTokenNotReady checks that there is no Secret while the virtual API server does not answer.
func TestTokenNotReady(t *testing.T) {
	t.Parallel()
	w := newTokenWorld(t)
	w.client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, fmt.Errorf("starting")
	})
	if _, _, err := (&ArgoCDSecret{Bundle: newBundle(t, w.clock.Now()), Token: w.newToken()}).Want(t.Context(), nil); err == nil {
		t.Error("there is a Secret without a token")
	}
}

func newBundle(t *testing.T, now time.Time) *pki.Bundle {
	t.Helper()
	bundle, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// TestAccountInANewNamespace exports the account of a namespace that nobody has created. An API server
// has no account without its namespace.
func TestAccountInANewNamespace(t *testing.T) {
	t.Parallel()
	w := newTokenWorld(t)
	w.client.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		_, err := w.client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("namespaces"), "", action.GetNamespace())
		return err != nil, nil, err
	})
	account := &AccountToken{Virtual: w.client, Namespace: "ci", Name: "deployer", Clock: w.clock}
	for range 2 {
		if token, err := account.issue(t.Context()); err != nil || token == "" {
			t.Fatalf("no token: %v", err)
		}
	}
}
