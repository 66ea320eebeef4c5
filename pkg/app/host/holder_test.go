package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const patience = 2 * time.Minute
	deadline := time.After(patience)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		case <-ticker.C:
		}
	}
}

func getAnchor(t *testing.T, client *fake.Clientset) *corev1.ConfigMap {
	t.Helper()
	anchor, err := client.CoreV1().ConfigMaps(shop().Namespace).Get(t.Context(), "shop-anchor", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return anchor
}

// TestClaim starts a replica on anchors in every state.
func TestClaim(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason   string
		identity Identity
		pod      string // UID of the host's pod shop-0, empty for none
		anchor   map[string]string
		want     Record
		standby  string
	}{
		"First":        {"Pod 0 takes an anchor that nobody held.", pod0("a"), "", nil, Record{"shop-0", "a", 1}, ""},
		"FirstOf1":     {"Pod 1 does not: its store cannot be the first.", Identity{Pod: "shop-1", UID: "b"}, "", nil, Record{}, "scale StatefulSet shop back to 1 replica"},
		"Same":         {"A restart in the same pod keeps the epoch.", pod0("a"), "", heldBy("shop-0", "a", "4"), Record{"shop-0", "a", 4}, ""},
		"Successor":    {"A new pod of the name takes the next epoch.", pod0("b"), "", heldBy("shop-0", "a", "4"), Record{"shop-0", "b", 5}, ""},
		"Other":        {"A second replica does not serve.", Identity{Pod: "shop-1", UID: "b"}, "", heldBy("shop-0", "a", "4"), Record{}, "pod shop-0 serves"},
		"Garbled":      {"A record that is no record counts as none.", pod0("a"), "", heldBy("shop-0", "b", "many"), Record{"shop-0", "a", 1}, ""},
		"InPod":        {"In a pod, the host confirms the UID.", Identity{"shop-0", "b", true}, "b", heldBy("shop-0", "a", "4"), Record{"shop-0", "b", 5}, ""},
		"ForceDeleted": {"A pod that was deleted by force does not come back as a successor.", Identity{"shop-0", "a", true}, "b", heldBy("shop-0", "b", "5"), Record{}, "deleted while it ran"},
		"NoPod":        {"Nor does one whose name is free.", Identity{"shop-0", "a", true}, "", heldBy("shop-0", "a", "5"), Record{}, "deleted while it ran"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := chartObjects(tc.anchor)
			if tc.pod != "" {
				objects = append(objects, &corev1.Pod{ObjectMeta: meta("shop-0", tc.pod, nil)})
			}
			client := fake.NewClientset(objects...)
			d := newDiscovery(t, client)
			d.Identity = tc.identity
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reason := ""
			_, holder, err := d.Discover(ctx, func(text string) { reason = text; cancel() })
			if tc.standby != "" {
				if !strings.Contains(reason, tc.standby) {
					t.Errorf("%s\nwant standby %q, got %q", tc.reason, tc.standby, reason)
				}
				if diff := cmp.Diff(tc.anchor, getAnchor(t, client).Annotations); diff != "" {
					t.Errorf("%s\nthe anchor was changed (-want +got):\n%s", tc.reason, diff)
				}
				for _, action := range client.Actions() {
					if action.GetVerb() != "get" {
						t.Errorf("%s\na replica on standby sent %s %s", tc.reason, action.GetVerb(), action.GetResource().Resource)
					}
				}
				return
			}
			if err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			if diff := cmp.Diff([]Record{tc.want, tc.want}, []Record{holder.Record(), recordOf(getAnchor(t, client))}); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestClaimConflict lets another replica be faster between the look and the
// claim.
func TestClaimConflict(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(heldBy("shop-0", "a", "4"))...)
	raced := false
	client.PrependReactor("patch", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if !strings.Contains(string(action.(clienttesting.PatchAction).GetPatch()), `"resourceVersion"`) {
			t.Error("a claim is bound to the version that it was computed from")
		}
		if raced {
			return false, nil, nil
		}
		raced = true
		anchor := &corev1.ConfigMap{ObjectMeta: meta("shop-anchor", "anchor-uid", heldBy("shop-0", "c", "5"))}
		if err := client.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, anchor, shop().Namespace); err != nil {
			t.Error(err)
		}
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "shop-anchor", errors.New("changed"))
	})
	d := newDiscovery(t, client)
	known := &Facts{Anchor: shop().AnchorOwner("anchor-uid"), Holder: Record{"shop-0", "a", 4}, Certs: map[string][]byte{"ca.crt": []byte("kept")}}
	if err := known.save(d.DataDir); err != nil {
		t.Fatal(err)
	}
	_, holder, err := d.Discover(t.Context(), noStandby(t))
	if err != nil {
		t.Fatal(err)
	}
	if holder.MayWrite() != nil {
		t.Error("a host that responds is asked again, not passed over")
	}
	if diff := cmp.Diff(Record{"shop-0", "new", 6}, holder.Record()); diff != "" {
		t.Errorf("the second look sees the other claim (-want +got):\n%s", diff)
	}
}

// runHolder starts a proven holder with the UID "new" and epoch 1, and its watch.
func runHolder(t *testing.T, client *fake.Clientset) (*Holder, <-chan error) {
	t.Helper()
	_, holder, err := newDiscovery(t, client).Discover(t.Context(), noStandby(t))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- holder.Run(t.Context()) }()
	eventually(t, "the watch", func() bool { return watches(client, "configmaps") > 0 })
	return holder, done
}

// watches returns how many watches of a resource were opened.
func watches(client *fake.Clientset, resource string) int {
	count := 0
	for _, action := range client.Actions() {
		if action.Matches("watch", resource) {
			count++
		}
	}
	return count
}

func setAnchor(t *testing.T, client *fake.Clientset, uid string, annotations map[string]string) {
	t.Helper()
	anchor := &corev1.ConfigMap{ObjectMeta: meta("shop-anchor", uid, annotations)}
	if _, err := client.CoreV1().ConfigMaps(shop().Namespace).Update(t.Context(), anchor, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestFencing lets a successor write its record while this replica runs.
func TestFencing(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	holder, done := runHolder(t, client)
	notified := make(chan struct{}, 8)
	holder.OnChange(func() { notified <- struct{}{} })

	setAnchor(t, client, "anchor-uid", heldBy("shop-0", "successor", "2"))
	err := <-done
	if !errors.Is(err, ErrSuperseded) || holder.MayWrite() == nil {
		t.Errorf("a successor ends this holder and all its writes: %v, may write: %v", err, holder.MayWrite())
	}
	<-notified
	if checks := holder.Checks(); checks[0].Healthy || len(checks[0].Details) != 1 {
		t.Errorf("/syncz has the reason: %+v", checks)
	}
	if err := holder.claim(t.Context(), getAnchor(t, client)); err == nil {
		t.Error("a replica that was superseded does not claim again")
	}
}

// TestHolderKeepsClaim changes the anchor in ways that are no successor.
func TestHolderKeepsClaim(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	holder, _ := runHolder(t, client)

	setAnchor(t, client, "anchor-uid", map[string]string{"example.com/note": "by hand"})
	eventually(t, "the record is written again", func() bool { return recordOf(getAnchor(t, client)).isOf(holder.identity) })

	setAnchor(t, client, "anchor-again", nil)
	eventually(t, "the new anchor is claimed", func() bool {
		return recordOf(getAnchor(t, client)).isOf(holder.identity) && holder.AnchorOwner().UID == types.UID("anchor-again")
	})
	if holder.MayWrite() != nil {
		t.Error("writes go on")
	}
}

// TestHolderWithoutAnchor deletes the anchor. The host's garbage collector deletes whatever this replica would
// create for it, so that writes wait until an upgrade has created it again.
func TestHolderWithoutAnchor(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"Alone": false, "Shared": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(chartObjects(nil)...)
			holder, _ := runHolder(t, client)
			if shared {
				holder.Share()
			}
			configMaps := client.CoreV1().ConfigMaps(shop().Namespace)
			if err := configMaps.Delete(t.Context(), shop().Anchor(), metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "writes wait", func() bool { return errors.Is(holder.MayWrite(), ErrNotProven) })
			if details := holder.Checks()[0].Details; len(details) != 1 || !strings.Contains(details[0], "shop-anchor does not exist; run helm upgrade") {
				t.Errorf("/syncz has the details %q", details)
			}
			again := &corev1.ConfigMap{ObjectMeta: meta(shop().Anchor(), "anchor-again", nil)}
			if _, err := configMaps.Create(t.Context(), again, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "writes go on", func() bool { return holder.MayWrite() == nil && holder.AnchorOwner().UID == again.UID })
		})
	}
}

// TestHolderWithoutHost starts with the facts of an earlier run and reaches the
// host later.
func TestHolderWithoutHost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		anchor map[string]string
		err    error
	}{
		"Ours":      {"The host confirms the record of the last run.", heldBy("shop-0", "new", "1"), nil},
		"Followed":  {"A replica of another name was never let in, so an older pod is followed.", heldBy("shop-0", "older", "1"), nil},
		"Successor": {"Another pod holds the release now: stop.", heldBy("shop-1", "other", "7"), ErrSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(chartObjects(tc.anchor)...)
			holder := &Holder{client: client, release: shop(), identity: pod0("new"), clock: newDiscovery(t, client).Clock}
			if holder.MayWrite() == nil {
				t.Fatal("writes wait for the host")
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- holder.Run(ctx) }()
			if tc.err == nil {
				eventually(t, tc.reason, func() bool { return holder.MayWrite() == nil })
				cancel()
			}
			if err := <-done; !errors.Is(err, tc.err) {
				t.Errorf("%s\nwant %v, got %v", tc.reason, tc.err, err)
			}
		})
	}
}

// TestHolderIdle counts what a holder asks of the host while nothing happens.
func TestHolderIdle(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(chartObjects(nil)...)
	runHolder(t, client)
	before := len(client.Actions())
	setAnchor(t, client, "anchor-uid", heldBy("shop-0", "new", "1"))
	eventually(t, "the event", func() bool { return len(client.Actions()) > before })
	for _, action := range client.Actions()[before+1:] {
		t.Errorf("an event that changes nothing caused %s %s", action.GetVerb(), action.GetResource().Resource)
	}
}

// TestHolderOfAnEarlierRelease shows a new anchor to a pod that still runs. It is the anchor of its own
// release only if that has not been installed again.
func TestHolderOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	for name, tc := range map[string]struct {
		reason  string
		pod     func(*corev1.Pod)
		set     types.UID // empty for none
		shared  bool
		offline bool // if true, the replica has started without the host
		earlier bool
	}{
		"Same":       {reason: "An upgrade has created the anchor again.", set: "set"},
		"Ending":     {reason: "The pod ends with its release.", set: "set", pod: func(p *corev1.Pod) { p.DeletionTimestamp = &now }, earlier: true},
		"OtherSet":   {reason: "The release was installed again.", set: "other", earlier: true},
		"NoSet":      {reason: "The release is about to be installed again.", earlier: true},
		"Offline":    {reason: "The store may be of an earlier release.", set: "set", offline: true, earlier: true},
		"ByHand":     {reason: "Nothing is known of a pod without an owner.", pod: func(p *corev1.Pod) { p.OwnerReferences = nil }},
		"SharedSame": {reason: "It is the same for several replicas.", set: "set", shared: true},
		"Shared":     {reason: "It is the same for several replicas.", set: "other", shared: true, earlier: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{ObjectMeta: meta("shop-0", "a", nil)}
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "shop", UID: "set", Controller: new(true)}}
			if tc.pod != nil {
				tc.pod(pod)
			}
			objects := chartObjects(nil, pod)
			if tc.set != "" {
				objects = append(objects, &appsv1.StatefulSet{ObjectMeta: meta("shop", string(tc.set), nil)})
			}
			d := newDiscovery(t, fake.NewClientset(objects...))
			d.Identity = Identity{Pod: "shop-0", UID: "a", InPod: true}
			d.IsShared = func(*Facts, int) bool { return tc.shared }
			_, holder, err := d.Discover(t.Context(), noStandby(t))
			if err != nil {
				t.Fatal(err)
			}
			if tc.offline {
				holder.confirmed = false
			}
			again := &corev1.ConfigMap{ObjectMeta: meta("shop-anchor", "anchor-again", nil)}
			if _, err := d.Client.CoreV1().ConfigMaps(shop().Namespace).Update(t.Context(), again, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			err = holder.observe(t.Context(), again)
			if (err != nil) != tc.earlier {
				t.Errorf("%s\ngot %v", tc.reason, err)
			}
			if got := holder.AnchorOwner().UID == "anchor-again"; got == tc.earlier {
				t.Errorf("%s\nthe replica follows the new anchor: %t", tc.reason, got)
			}
		})
	}
}

// TestHolderOfAnotherAnchorStartsAgain shows a replica that has started without the host an anchor that was created
// again. Nobody but a start can decide about its store, so that the replica must not wait for ever.
func TestHolderOfAnotherAnchorStartsAgain(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"Alone": false, "Shared": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{ObjectMeta: meta("shop-0", "a", nil)}
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "shop", UID: "set", Controller: new(true)}}
			d := newDiscovery(t, fake.NewClientset(chartObjects(nil, pod, &appsv1.StatefulSet{ObjectMeta: meta("shop", "set", nil)})...))
			d.Identity = Identity{Pod: "shop-0", UID: "a", InPod: true}
			d.IsShared = func(*Facts, int) bool { return shared }
			known := &Facts{Anchor: shop().AnchorOwner("anchor-before"), Holder: Record{Pod: "shop-0", UID: "before", Epoch: 1}}
			if err := known.save(d.DataDir); err != nil {
				t.Fatal(err)
			}
			holder := &Holder{client: d.Client, release: d.Release, identity: d.Identity, clock: d.Clock}
			if _, ok := d.loadUnproven(holder, errors.New("connection refused")); !ok {
				t.Fatal("the replica starts without the host")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := holder.Run(ctx); err == nil || errors.Is(err, ErrSuperseded) {
				t.Errorf("the process must end, so that it starts again, got: %v", err)
			}
			if holder.MayWrite() == nil {
				t.Error("nothing may be written")
			}
		})
	}
}
