package syncer

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/api/syncz"
)

const hostSecretsPath = "/api/v1/namespaces/tenant/secrets"

// oneSecret returns a list of one virtual Secret.
func oneSecret() *corev1.SecretList {
	return &corev1.SecretList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"},
		ListMeta: metav1.ListMeta{ResourceVersion: "5"},
		Items:    []corev1.Secret{{ObjectMeta: metav1.ObjectMeta{Name: "s1", Namespace: "web", UID: "u1", ResourceVersion: "4"}}},
	}
}

func TestTermsFollowEachOther(t *testing.T) {
	t.Parallel()
	virtual, host := newListServer(t), newListServer(t)
	virtual.setList("/api/v1/secrets", oneSecret())
	options := Options{Cluster: testCluster(), Virtual: virtual.config(), Host: host.config(), Kinds: []Kind{secrets()}, Log: silent()}
	first, err := NewEngine(options)
	if err != nil {
		t.Fatal(err)
	}
	options.Standby = true
	options.Host = host.config()
	options.Host.UserAgent = "second"
	second, err := NewEngine(options)
	if err != nil {
		t.Fatal(err)
	}
	stopFirst := startEngine(t, first)
	host.awaitWrite(t, hostSecretsPath)
	startEngine(t, second)
	<-second.Synced()
	stopFirst()

	// The first term is over: nothing of it may write, not even an admission.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "late"}}
	if err := first.host.client.Create(t.Context(), secret); !errors.Is(err, errStopped) {
		t.Errorf("A write after the term must fail, got %v", err)
	}
	if _, err := first.CreateHostFirst(t.Context(), "secrets", &oneSecret().Items[0], false); !errors.Is(err, errStopped) {
		t.Errorf("A host-first write after the term must fail, got %v", err)
	}
	if got := host.written("second"); len(got) != 0 {
		t.Errorf("An engine on standby must not write, got %v", got)
	}
	if check, _ := findCheck(second.Checks(), "store guard"); !check.Healthy || !strings.Contains(check.Message, "standby") {
		t.Errorf("A replica on standby is healthy, got %+v", check)
	}
	second.Lead()
	awaitCheck(t, second, "a write of the second term", func([]syncz.Check) bool {
		return len(host.written("second POST "+hostSecretsPath)) > 0
	})
}

func TestReplicaThatMayNotWriteStopsAtOnce(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newListServer(t), newListServer(t)
	virtual.setList("/api/v1/secrets", oneSecret())
	var barred atomic.Bool
	barred.Store(true)
	e, err := NewEngine(Options{
		Cluster: testCluster(), Virtual: virtual.config(), Host: host.config(), Kinds: []Kind{secrets()}, Log: silent(), Clock: c,
		MayWrite: func() error {
			if barred.Load() {
				return errors.New("the anchor names another holder")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	startEngine(t, e)
	awaitCheck(t, e, "an object on hold", func(checks []syncz.Check) bool {
		check, _ := findCheck(checks, "secrets")
		guard, _ := findCheck(checks, "store guard")
		return !check.Healthy && slices.Contains(check.Details, "on hold: web/s1") &&
			!guard.Healthy && slices.Contains(guard.Details, "the anchor names another holder")
	})
	if got := host.written(""); len(got) != 0 {
		t.Errorf("A replica that is not proven must not write to the host, got %v", got)
	}
	if err := e.host.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "x"}}); err == nil {
		t.Error("No write of any kind may pass")
	}
	barred.Store(false)
	deadline := time.After(awaitTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(host.written(hostSecretsPath)) == 0 {
		select {
		case <-deadline:
			t.Fatal("Syncing must go on when the replica may write again")
		case <-tick.C:
			c.Step(barredPeriod)
		}
	}
}

func TestStateMetricsEndWithTheTerm(t *testing.T) {
	t.Parallel()
	kind := secrets()
	kind.name = t.Name()
	e, _, _ := newTestEngine(t, kind)
	stop := startEngine(t, e)
	<-e.Synced()
	processMetrics().held.WithLabelValues(kind.name).Set(3)
	stop()
	if got, err := testutil.GetGaugeMetricValue(processMetrics().held.WithLabelValues(kind.name)); err != nil || got != 0 {
		t.Errorf("A replica that no longer leads has nothing on hold, the metric is %g, %v", got, err)
	}
}
