package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

var shop = hostNames{release: "shop", namespace: "tenant-shop"}

// chartObjects are what the chart puts beside the control plane.
func chartObjects() []runtime.Object {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: shop.namespace, Name: name, UID: "anchor-uid"}
	}
	return []runtime.Object{
		&corev1.ConfigMap{ObjectMeta: meta("shop-anchor")},
		&corev1.Service{ObjectMeta: meta("shop"), Spec: corev1.ServiceSpec{ClusterIP: "10.100.3.4"}},
		&corev1.Service{ObjectMeta: meta("shop-dns"), Spec: corev1.ServiceSpec{ClusterIP: "10.100.3.5"}},
	}
}

func learner(t *testing.T, client *fake.Clientset) *hostLearner {
	t.Helper()
	return &hostLearner{
		client: client, names: shop, cacheFile: filepath.Join(t.TempDir(), "host.json"), now: time.Now,
		newCerts: func(time.Time) (map[string][]byte, error) { return map[string][]byte{"ca.crt": []byte("new")}, nil },
	}
}

func TestLearn(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "servicecidrs"}, "kubernetes", errors.New("no right"))
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.100.0.0/16"}}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: shop.namespace, Name: "shop-certs"}, Data: map[string][]byte{"ca.crt": []byte("old")}}

	for name, tc := range map[string]struct {
		reason     string
		objects    []runtime.Object
		refuseCIDR bool
		wantCIDR   string
		wantCA     string
		wantErr    string
	}{
		"First": {
			reason:   "At the first start the range is the host's and the authority is made.",
			objects:  append(chartObjects(), cidr),
			wantCIDR: "10.100.0.0/16", wantCA: "new",
		},
		"Again": {
			reason:   "A new pod keeps the authority that the first one made.",
			objects:  append(chartObjects(), cidr, secret),
			wantCIDR: "10.100.0.0/16", wantCA: "old",
		},
		"NoRight": {
			reason:     "Without the right to read ServiceCIDRs the range is the widest around the Service's address.",
			objects:    chartObjects(),
			refuseCIDR: true,
			wantCIDR:   "10.96.0.0/12", wantCA: "new",
		},
		"NoAnchor": {
			reason:  "Without the anchor nothing would own what is synced: refuse, and say what to do.",
			objects: chartObjects()[1:],
			wantErr: "run helm upgrade",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(tc.objects...)
			if tc.refuseCIDR {
				client.PrependReactor("get", "servicecidrs", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
			}
			l := learner(t, client)
			facts, err := l.learn(t.Context())
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("%s\nwant error %q, got %v", tc.reason, tc.wantErr, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			got := []string{facts.ServiceCIDR, string(facts.Certs["ca.crt"]), facts.ServiceIP, facts.DNSServiceIP, string(facts.Anchor.UID)}
			if diff := cmp.Diff([]string{tc.wantCIDR, tc.wantCA, "10.100.3.4", "10.100.3.5", "anchor-uid"}, got); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
			info, err := os.Stat(l.cacheFile)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the facts hold keys and must be the process's own: %v %v", info, err)
			}
		})
	}
}

func TestLearnWithoutHost(t *testing.T) {
	t.Parallel()
	silent := func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	}
	client := fake.NewClientset(chartObjects()...)
	l := learner(t, client)
	want, err := l.learn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client.PrependReactor("*", "*", silent)

	got, err := l.learn(t.Context())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("a restart without the host takes what the host said last: %v\n-want +got:\n%s", err, diff)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	l.cacheFile = filepath.Join(t.TempDir(), "none.json")
	if _, err := l.learn(ctx); err == nil {
		t.Error("the first start waits for the host: there is nothing to start with")
	}
}
