package syncer

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/api/syncz"
)

// TestWatchOfASharedInformerThatFailsIsSeen breaks the watch of an informer that the engine only
// borrows.
func TestWatchOfASharedInformerThatFailsIsSeen(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		fault  http.HandlerFunc
		want   string // in the details
	}{
		"PermissionLost": {"A role that lost the verb watch.", forbidWatch, "403 Forbidden"},
		"EndlessExpired": {"A server that expires every version: lists work, watches never.", expireWatch, "ends at once"},
		"EndsAtOnce":     {"A server that ends each watch at once.", endWatch, "ends at once"},
		"Reset":          {"A server that drops the connection.", resetWatch, "cannot watch"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual, host := newListServer(t), newListServer(t)
			virtual.setList("/api/v1/secrets", &corev1.SecretList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"}, ListMeta: metav1.ListMeta{ResourceVersion: "5"},
			})
			monitor := newInformerMonitor(clock.RealClock{}, silent())
			config := virtual.config()
			config.Wrap(monitor.Wrap)
			factory := &sharedFactory{
				SharedInformerFactory: informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0),
				asked:                 make(chan schema.GroupVersionKind, 16), done: t.Context().Done(),
			}
			e, err := NewEngine(Options{
				Cluster: testCluster(), Virtual: virtual.config(), Host: host.config(), Kinds: []Kind{secrets()},
				VirtualInformers: factory, InformerMonitor: monitor, Log: silent(),
			})
			if err != nil {
				t.Fatal(err)
			}
			startEngine(t, e)
			<-e.Synced()
			if _, ok := findCheck(e.Checks(), "watch virtual Secret"); ok {
				t.Error("A watch that works must have no check of its own")
			}
			virtual.breakWatches(tc.fault)
			awaitCheck(t, e, tc.reason, func(checks []syncz.Check) bool {
				check, ok := findCheck(checks, "watch virtual Secret")
				return ok && !check.Healthy && strings.Contains(strings.Join(check.Details, "\n"), tc.want)
			})
			virtual.breakWatches(nil)
			awaitCheck(t, e, "A watch that works again", func(checks []syncz.Check) bool {
				_, ok := findCheck(checks, "watch virtual Secret")
				return !ok
			})
		})
	}
}

// TestInformerMonitorLogsAndCounts follows the health of one list path.
func TestInformerMonitorLogsAndCounts(t *testing.T) {
	t.Parallel()
	var lines []string
	c := clocktesting.NewFakePassiveClock(testStart())
	m := newInformerMonitor(c, funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	status := http.StatusForbidden
	transport := m.Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: http.NoBody}, nil
	}))
	request := func(path string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://virtual"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	const path = "/apis/apps/v1/daemonsets"
	request(path)
	health := m.healthOf(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"})
	if health.check() == nil || len(lines) != 0 {
		t.Errorf("While informers start, a failure is known and not logged: %v, %q", health.check(), lines)
	}
	c.SetTime(testStart().Add(failureLogPeriod))
	if health.check() == nil || len(lines) != 1 || !strings.Contains(lines[0], "virtual DaemonSet") {
		t.Errorf("A failure that lasts is logged, got %v, %q", health.check(), lines)
	}
	if got, err := testutil.GetCounterMetricValue(health.meters.failures); err != nil || got != 1 {
		t.Errorf("counted %v failures, %v", got, err)
	}
	status = http.StatusOK
	request(path)
	request(path + "?watch=true")
	if health.check() == nil {
		t.Error("A list, and a watch that ends at once, are no proof that the watch works")
	}
	attempt := health.begin(func() {}, nil)
	health.recordOpen(attempt)
	c.SetTime(c.Now().Add(watchSettle))
	health.recordBytes(attempt)
	if err := health.check(); err != nil {
		t.Errorf("A watch that stays open works, got %v", err)
	}
	request("/api/v1/namespaces/web/pods/cart")
	if len(m.all) != 1 {
		t.Errorf("Only lists of all namespaces are of informers, got %d", len(m.all))
	}
	if health.lastActivity.Sub(testStart()) < time.Second {
		t.Error("The time of the last activity must be known")
	}
}
