package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
)

// shop returns the release of all tests.
func shop() release.Release { return release.Release{Name: "shop", Namespace: "tenant-shop"} }

// pod0 returns the identity of a process in the pod with the ordinal 0.
func pod0(uid string) Identity { return Identity{Pod: "shop-0", UID: uid} }

func meta(name, uid string, annotations map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: shop().Namespace, Name: name, UID: types.UID(uid), Annotations: annotations}
}

// chartObjects returns what the chart creates in addition to the control plane.
func chartObjects(annotations map[string]string, more ...runtime.Object) []runtime.Object {
	return append([]runtime.Object{
		&corev1.ConfigMap{ObjectMeta: meta("shop-anchor", "anchor-uid", annotations)},
		&corev1.Service{ObjectMeta: meta("shop", "1", nil), Spec: corev1.ServiceSpec{ClusterIP: "10.100.3.4"}},
		&corev1.Service{ObjectMeta: meta("shop-dns", "2", nil), Spec: corev1.ServiceSpec{ClusterIP: "10.100.3.5"}},
	}, more...)
}

// certsSecret returns the Secret of an installed release. Its authority is "old".
func certsSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: meta("shop-certs", "3", nil), Data: map[string][]byte{"ca.crt": []byte("old")}}
}

// heldBy returns the annotations of an anchor that names a holder.
func heldBy(pod, uid, epoch string) map[string]string {
	return map[string]string{labels.Holder: pod, labels.HolderUID: uid, labels.HolderEpoch: epoch}
}

func newDiscovery(t *testing.T, client *fake.Clientset) *Discovery {
	t.Helper()
	return &Discovery{
		Client: client, Release: shop(), Identity: pod0("new"), DataDir: t.TempDir(), Clock: clock.RealClock{},
		NewCerts: func(time.Time) (map[string][]byte, error) { return map[string][]byte{"ca.crt": []byte("new")}, nil },
	}
}

// noStandby returns a function that fails the test if the replica does not serve.
func noStandby(t *testing.T) func(string) {
	t.Helper()
	return func(reason string) { t.Errorf("does not serve: %s", reason) }
}

// createStore puts something into the folder of the store.
func createStore(t *testing.T, dataDir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dataDir, StoreDir, "member"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestDiscoverOnFullVolume starts a new pod on a volume that takes no file any more. An earlier copy of the
// facts suffices, and that of another anchor does not.
func TestDiscoverOnFullVolume(t *testing.T) {
	t.Parallel()
	for anchor, starts := range map[string]bool{"anchor-uid": true, "other-uid": false} {
		d := newDiscovery(t, fake.NewClientset(chartObjects(heldBy("shop-0", "old", "1"), certsSecret())...))
		known := &Facts{Anchor: shop().AnchorOwner(types.UID(anchor)), Certs: map[string][]byte{"ca.crt": []byte("old")}}
		if err := known.save(d.DataDir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(d.DataDir, factsFile+".new"), 0o700); err != nil {
			t.Fatal(err)
		}
		facts, _, err := d.Discover(t.Context(), noStandby(t))
		if (err == nil) != starts {
			t.Errorf("with facts of %s: %v, want a start: %t", anchor, err, starts)
		}
		if err == nil && facts.Holder.UID != "new" {
			t.Errorf("the holder is %+v, want the new pod", facts.Holder)
		}
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "servicecidrs"}, "kubernetes", errors.New("no right"))
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.100.0.0/16"}}}

	for name, tc := range map[string]struct {
		reason     string
		objects    []runtime.Object
		refuseCIDR bool
		wantCIDR   string
		wantCA     string
		wantErr    string
	}{
		"First": {
			reason:   "At the first start the range is the host's and the authority is created.",
			objects:  chartObjects(nil, cidr),
			wantCIDR: "10.100.0.0/16", wantCA: "new",
		},
		"DualStack": {
			reason: "A host with two IP families has a range for each.",
			objects: chartObjects(nil, &networkingv1.ServiceCIDR{
				ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
				Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.100.0.0/16", "fd00:10::/112"}},
			}),
			wantCIDR: "10.100.0.0/16,fd00:10::/112", wantCA: "new",
		},
		"Again": {
			reason:   "A new pod keeps the authority that the first one created.",
			objects:  chartObjects(nil, cidr, certsSecret()),
			wantCIDR: "10.100.0.0/16", wantCA: "old",
		},
		"NoRight": {
			reason:     "Without permission to read ServiceCIDRs the range is the widest around the Service's address.",
			objects:    chartObjects(nil),
			refuseCIDR: true,
			wantCIDR:   "10.96.0.0/12", wantCA: "new",
		},
		"NoAnchor": {
			reason:  "Without the anchor nothing would own what is synced: fail, and tell what to do.",
			objects: chartObjects(nil)[1:],
			wantErr: "run helm upgrade",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(tc.objects...)
			if tc.refuseCIDR {
				client.PrependReactor("get", "servicecidrs", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
			}
			d := newDiscovery(t, client)
			facts, holder, err := d.Discover(t.Context(), noStandby(t))
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
			if holder.MayWrite() != nil {
				t.Error("the claim is proven before the store is opened")
			}
			info, err := os.Stat(filepath.Join(d.DataDir, factsFile))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the facts hold keys and must be the process's own: %v %v", info, err)
			}
		})
	}
}

// TestRestoreCerts starts without the Secret of the keys.
func TestRestoreCerts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		store   bool
		known   *Facts
		accept  string
		wantCA  string
		wantErr string
		standby string
	}{
		"NewStore": {
			reason: "A new store gets a new authority.",
			wantCA: "new",
		},
		"SameAnchor": {
			reason: "The keys on the volume of the store come back.",
			store:  true, known: &Facts{Anchor: shop().AnchorOwner("anchor-uid"), Certs: map[string][]byte{"ca.crt": []byte("kept")}},
			wantCA: "kept",
		},
		"NoCopy": {
			reason: "A store without its keys fails the start: new ones would void every token and kubeconfig.",
			store:  true, wantErr: "Restore the Secret from a backup",
		},
		"EmptyCopy": {
			reason: "So does a copy without keys.",
			store:  true, known: &Facts{Anchor: shop().AnchorOwner("anchor-uid")}, wantErr: "Restore the Secret from a backup",
		},
		"LostStore": {
			reason: "A copy without its store does not count: the store is new.",
			known:  &Facts{Anchor: shop().AnchorOwner("other"), Certs: map[string][]byte{"ca.crt": []byte("kept")}},
			wantCA: "new",
		},
		"OtherAnchor": {
			reason: "A store of another anchor may be another tenant's: an operator decides.",
			store:  true, known: &Facts{Anchor: shop().AnchorOwner("other"), Store: "store-uid", Certs: map[string][]byte{"ca.crt": []byte("kept")}},
			standby: labels.AcceptStore + "=store-uid",
		},
		"Accepted": {
			reason: "Once accepted, it serves with its own keys.",
			store:  true, known: &Facts{Anchor: shop().AnchorOwner("other"), Store: "store-uid", Certs: map[string][]byte{"ca.crt": []byte("kept")}},
			accept: "store-uid", wantCA: "kept",
		},
		"AcceptedByAnchor": {
			reason: "An older version did not record the store; the UID of its anchor names it too.",
			store:  true, known: &Facts{Anchor: shop().AnchorOwner("other"), Certs: map[string][]byte{"ca.crt": []byte("kept")}},
			accept: "other", wantCA: "kept",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(chartObjects(map[string]string{labels.AcceptStore: tc.accept})...)
			d := newDiscovery(t, client)
			if tc.store {
				createStore(t, d.DataDir)
			}
			if tc.known != nil {
				if err := tc.known.save(d.DataDir); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stoodBy := ""
			facts, _, err := d.Discover(ctx, func(reason string) { stoodBy = reason; cancel() })
			if !strings.Contains(stoodBy, tc.standby) || (stoodBy == "") != (tc.standby == "") {
				t.Errorf("%s\nwant standby %q, got %q", tc.reason, tc.standby, stoodBy)
			}
			secret, getErr := client.CoreV1().Secrets(shop().Namespace).Get(t.Context(), "shop-certs", metav1.GetOptions{})
			if tc.wantCA == "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("%s\nwant error %q, got %v", tc.reason, tc.wantErr, err)
				}
				if getErr == nil {
					t.Errorf("%s\na Secret was created with %s", tc.reason, secret.Data["ca.crt"])
				}
				return
			}
			if err != nil || getErr != nil {
				t.Fatalf("%s\n%v %v", tc.reason, err, getErr)
			}
			if diff := cmp.Diff([]string{tc.wantCA, tc.wantCA}, []string{string(facts.Certs["ca.crt"]), string(secret.Data["ca.crt"])}); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
			if known, ok := LoadFacts(d.DataDir); !ok || string(known.Certs["ca.crt"]) != tc.wantCA || known.Anchor.UID != "anchor-uid" {
				t.Errorf("%s\nthe copy of the facts is %+v", tc.reason, known)
			}
		})
	}
}

func TestDiscoverWithoutHost(t *testing.T) {
	t.Parallel()
	silent := func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	}
	client := fake.NewClientset(chartObjects(nil)...)
	d := newDiscovery(t, client)
	want, _, err := d.Discover(t.Context(), noStandby(t))
	if err != nil {
		t.Fatal(err)
	}
	client.PrependReactor("*", "*", silent)

	got, holder, err := d.Discover(t.Context(), noStandby(t))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("a restart without the host takes the facts of the last run: %v\n-want +got:\n%s", err, diff)
	}
	if holder.MayWrite() == nil {
		t.Error("writes wait until the host confirms the holder")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	d.Identity.Pod = "shop-1"
	if _, _, err := d.Discover(ctx, noStandby(t)); err == nil {
		t.Error("a copy of the volume in another pod does not serve without the host")
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	d.Identity.Pod, d.DataDir = "shop-0", t.TempDir()
	if _, _, err := d.Discover(ctx, noStandby(t)); err == nil {
		t.Error("the first start waits for the host: there is nothing to start with")
	}
}

// earlyClock is a clock just after each start, however slow the machine is.
type earlyClock struct{ clock.RealClock }

func (earlyClock) Since(time.Time) time.Duration { return 0 }

// TestDiscoverBusyHost restarts while the host is overloaded. It answers soon, so its answers count and not
// the facts of the last run.
func TestDiscoverBusyHost(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	d := newDiscovery(t, client)
	d.Clock = earlyClock{}
	if _, _, err := d.Discover(t.Context(), noStandby(t)); err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int32
	client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refused.Add(1) <= 2, nil, apierrors.NewTooManyRequests("too many requests", 1)
	})
	_, holder, err := d.Discover(t.Context(), noStandby(t))
	if err != nil {
		t.Fatal(err)
	}
	if reason := holder.MayWrite(); reason != nil {
		t.Errorf("a host that asks to come back is not away, got: %v", reason)
	}
}

// lateClock is a clock long after each start.
type lateClock struct{ clock.RealClock }

func (lateClock) Since(time.Time) time.Duration { return time.Hour }

// TestDiscoverDenied restarts while the host denies all access, because somebody has changed the Role or the
// account. The virtual API serves with the facts of the last run, as without the host, and nothing is written.
func TestDiscoverDenied(t *testing.T) {
	t.Parallel()
	for name, denial := range map[string]error{
		"Forbidden":    apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "shop-anchor", errors.New("no right")),
		"Unauthorized": apierrors.NewUnauthorized("Unauthorized"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(chartObjects(nil)...)
			d := newDiscovery(t, client)
			want, _, err := d.Discover(t.Context(), noStandby(t))
			if err != nil {
				t.Fatal(err)
			}
			client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, denial })
			d.Clock = lateClock{}
			got, holder, err := d.Discover(t.Context(), noStandby(t))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Fatalf("a restart takes the facts of the last run: %v\n-want +got:\n%s", err, diff)
			}
			if check := holder.Checks()[0]; holder.MayWrite() == nil || !strings.Contains(strings.Join(check.Details, " "), denial.Error()) {
				t.Errorf("writes wait, and /syncz names the denial: %+v", check)
			}
			d.DataDir = t.TempDir()
			if _, _, err := d.Discover(t.Context(), noStandby(t)); err == nil {
				t.Error("the first start has no facts to start with")
			}
		})
	}
}

// TestDiscoverLostConnection restarts while a balancer in front of the host closes a connection. The next
// attempt succeeds, so that the facts of the last run are not needed.
func TestDiscoverLostConnection(t *testing.T) {
	t.Parallel()
	for _, lost := range []error{syscall.ECONNRESET, io.EOF, io.ErrUnexpectedEOF} {
		client := fake.NewClientset(chartObjects(nil)...)
		d := newDiscovery(t, client)
		d.Clock = earlyClock{}
		if _, _, err := d.Discover(t.Context(), noStandby(t)); err != nil {
			t.Fatal(err)
		}
		var failed atomic.Bool
		client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			return failed.CompareAndSwap(false, true), nil, fmt.Errorf("cannot read: %w", lost)
		})
		_, holder, err := d.Discover(t.Context(), noStandby(t))
		if err != nil {
			t.Fatal(err)
		}
		if reason := holder.MayWrite(); reason != nil {
			t.Errorf("after %v the host answers at once, got: %v", lost, reason)
		}
	}
}
