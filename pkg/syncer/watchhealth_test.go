package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/api/syncz"
)

// forbidWatch answers as an API server whose role lost the verb watch.
func forbidWatch(w http.ResponseWriter, _ *http.Request) {
	status := apierrors.NewForbidden(corev1.Resource("secrets"), "", errors.New("cannot watch")).ErrStatus
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(status)
}

// expireWatch opens each watch and ends it with 410.
func expireWatch(w http.ResponseWriter, _ *http.Request) {
	status := apierrors.NewResourceExpired("too old resource version").ErrStatus
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": status})
}

// endWatch opens each watch and ends it at once.
func endWatch(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }

// resetWatch closes the connection without an answer.
func resetWatch(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

// awaitCheck waits until a check of the engine is as wanted.
func awaitCheck(t *testing.T, e *Engine, what string, want func([]syncz.Check) bool) {
	t.Helper()
	deadline := time.After(awaitTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !want(e.Checks()) {
		select {
		case <-deadline:
			t.Fatalf("%s: never seen, the checks are %+v", what, e.Checks())
		case <-tick.C:
		}
	}
}

// findCheck returns the check of a name.
func findCheck(checks []syncz.Check, name string) (syncz.Check, bool) {
	i := slices.IndexFunc(checks, func(c syncz.Check) bool { return c.Name == name })
	if i < 0 {
		return syncz.Check{}, false
	}
	return checks[i], true
}

func TestWatchThatFailsAfterItsFirstSyncIsSeen(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		fault  http.HandlerFunc
		want   string // in the details
	}{
		"PermissionLost": {"A role that lost the verb watch in an upgrade.", forbidWatch, "forbidden"},
		"EndlessExpired": {"A server that expires every version: lists work, watches never.", expireWatch, "too old resource version"},
		"EndsAtOnce":     {"A proxy that ends each watch at once.", endWatch, "ends at once"},
		"Reset":          {"A server that drops the connection.", resetWatch, "ends at once"},
	}
	for name, tc := range tests {
		for _, side := range []Side{Virtual, Host} {
			t.Run(name+"/"+side.String(), func(t *testing.T) {
				t.Parallel()
				e, server, host := runEngine(t, secrets())
				if side == Host {
					server = host
				}
				watchName := "watch " + side.String() + " Secret"
				<-e.Synced()
				if _, ok := findCheck(e.Checks(), watchName); ok {
					t.Error("A watch that works must have no check of its own")
				}
				server.breakWatches(tc.fault)
				awaitCheck(t, e, tc.reason, func(checks []syncz.Check) bool {
					check, ok := findCheck(checks, watchName)
					return ok && !check.Healthy && strings.Contains(strings.Join(check.Details, "\n"), tc.want)
				})
				server.breakWatches(nil)
				awaitCheck(t, e, "A watch that works again", func(checks []syncz.Check) bool {
					_, ok := findCheck(checks, watchName)
					return !ok
				})
			})
		}
	}
}

func TestWatchOfAServerThatIsGoneIsSeen(t *testing.T) {
	t.Parallel()
	e, virtual, _ := runEngine(t, secrets())
	<-e.Synced()
	if err := virtual.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	virtual.CloseClientConnections()
	awaitCheck(t, e, "A refused connection", func(checks []syncz.Check) bool {
		check, ok := findCheck(checks, "watch virtual Secret")
		return ok && !check.Healthy && strings.Contains(strings.Join(check.Details, "\n"), "connection refused")
	})
}

// pipe is a list and watch that the test feeds.
type pipe struct {
	mu      sync.Mutex
	listErr error
	openErr error
	open    *watch.FakeWatcher
	opened  int
}

func (p *pipe) lw() toolscache.ListerWatcher {
	return &toolscache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return &corev1.SecretList{}, p.listErr
		},
		WatchFuncWithContext: func(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.openErr != nil {
				return nil, p.openErr
			}
			p.opened++
			open := watch.NewFake()
			p.open = open
			context.AfterFunc(ctx, open.Stop)
			return open, nil
		},
	}
}

// healthBench is a watchHealth with a fake clock, and its log.
type healthBench struct {
	*watchHealth
	*pipe
	clock  *clocktesting.FakeClock
	lw     toolscache.ListerWatcherWithContext
	lines  *[]string
	object string
}

func newHealthBench(t *testing.T) *healthBench {
	t.Helper()
	b := &healthBench{pipe: &pipe{}, clock: clocktesting.NewFakeClock(testStart()), lines: &[]string{}, object: fmt.Sprintf("%s-%p", t.Name(), t)}
	log := funcr.New(func(_, args string) { *b.lines = append(*b.lines, args) }, funcr.Options{})
	b.watchHealth = newWatchHealth("host Secret", b.clock, log, newWatchMeters("host", b.object), func() error { return nil })
	b.lw = toolscache.ToListerWatcherWithContext(b.observe(b.pipe.lw()))
	return b
}

// watch opens a watch and returns its events.
func (b *healthBench) watch(t *testing.T) <-chan watch.Event {
	t.Helper()
	w, err := b.lw.WatchWithContext(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w.ResultChan()
}

func TestSilentWatchIsSeenAndOpenedAgain(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	events := b.watch(t)
	b.pipe.open.Action(watch.Bookmark, &corev1.Secret{})
	<-events
	b.clock.Step(bookmarkSilence - time.Second)
	if err := b.check(); err != nil {
		t.Fatalf("A watch may be silent for a while: %v", err)
	}
	b.clock.Step(time.Second)
	if err := b.check(); err == nil || !strings.Contains(err.Error(), "no event or bookmark") {
		t.Fatalf("A silent watch must be seen, got %v", err)
	}
	if _, more := <-events; more {
		t.Error("The silent watch must be ended, so that the reflector opens it again")
	}
	if got, err := testutil.GetGaugeMetricValue(b.meters.failing); err != nil || got != 1 {
		t.Errorf("The metric must show the failure, got %g, %v", got, err)
	}
	events = b.watch(t)
	b.clock.Step(watchSettle)
	if b.check() == nil {
		t.Error("An open watch that stays silent does not prove anything on a server that sends bookmarks")
	}
	b.pipe.open.Action(watch.Bookmark, &corev1.Secret{})
	<-events
	if err := b.check(); err != nil {
		t.Errorf("A bookmark is a success: %v", err)
	}
	if got, err := testutil.GetGaugeMetricValue(b.meters.failing); err != nil || got != 0 {
		t.Errorf("The metric must be cleared, got %g, %v", got, err)
	}
}

func TestWatchWithoutBookmarksMayBeSilentLonger(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	events := b.watch(t)
	end := metav1.ObjectMeta{Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
	b.pipe.open.Action(watch.Bookmark, &corev1.Secret{ObjectMeta: end})
	<-events
	b.clock.Step(openSilence - time.Second)
	if err := b.check(); err != nil {
		t.Errorf("A server need not send bookmarks: %v", err)
	}
	b.clock.Step(time.Second)
	if b.check() == nil {
		t.Error("But a watch is opened again every ten minutes")
	}
}

func TestWatchFailureIsLoggedAtOnceAndEachMinute(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	b.openErr = apierrors.NewForbidden(corev1.Resource("secrets"), "", errors.New("no"))
	for range 13 {
		_, _ = b.lw.WatchWithContext(t.Context(), metav1.ListOptions{})
		_ = b.check()
		b.clock.Step(10 * time.Second)
	}
	if got := len(*b.lines); got != 3 {
		t.Errorf("In two minutes a failure is logged three times, got %d:\n%s", got, strings.Join(*b.lines, "\n"))
	}
	if got, err := testutil.GetCounterMetricValue(b.meters.failures); err != nil || got != 13 {
		t.Errorf("Each failure counts, got %g, %v", got, err)
	}
	b.openErr = nil
	b.watch(t)
	b.clock.Step(watchSettle)
	if err := b.check(); err != nil {
		t.Errorf("A watch that stays open works: %v", err)
	}
	if got := (*b.lines)[len(*b.lines)-1]; !strings.Contains(got, "works again") {
		t.Errorf("The end of the failure must be logged, got %s", got)
	}
}

func TestFailuresOfAHostThatIsAwayAreNotLogged(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	away := errors.New("unreachable")
	b.away = func() error { return away }
	b.openErr = errors.New("connection refused")
	_, _ = b.lw.WatchWithContext(t.Context(), metav1.ListOptions{})
	b.clock.Step(time.Hour)
	if err := b.check(); !errors.Is(err, away) || len(*b.lines) != 0 {
		t.Errorf("The breaker has logged it already, got %v, %v", err, *b.lines)
	}
	away, b.openErr = nil, nil
	b.watch(t)
	b.clock.Step(watchSettle)
	if err := b.check(); err != nil {
		t.Errorf("Silence is measured from the host's return: %v", err)
	}
}

func TestStoppedWatchIsNoFailure(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := b.lw.WatchWithContext(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range w.ResultChan() {
	}
	if err := b.check(); err != nil || len(*b.lines) != 0 {
		t.Errorf("The engine has stopped the watch itself: %v, %v", err, *b.lines)
	}
}

// TestReopenedWatch checks that a watch that is open again reports it if something ended the one before early.
func TestReopenedWatch(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	reopened := 0
	b.onReopen = func() { reopened++ }
	for _, step := range []struct {
		reason string
		after  time.Duration
		want   int
	}{
		{"The first watch replaces none.", 0, 0},
		{"A reflector ended the last one.", shortestTimeout, 0},
		{"The API server ended the last one.", shortestTimeout - time.Second, 1},
		{"A restart of the API server may take no time.", 0, 2},
	} {
		b.clock.Step(step.after)
		b.watch(t)
		if reopened != step.want {
			t.Errorf("%s: reopened %d times, want %d", step.reason, reopened, step.want)
		}
	}
}

// TestRelistBetweenWatches misses changes while no watch is open, as after a failure. The next watch lists again.
func TestRelistBetweenWatches(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	b.relist()
	b.listsAgain(t)
	events := b.watch(t)
	b.pipe.open.Action(watch.Bookmark, &corev1.Secret{})
	if event := <-events; event.Type != watch.Bookmark {
		t.Errorf("got %v, want that one list is enough", event)
	}
}

// TestRelistAfterAFailedWatch lets the watch fail that is to list again. The one after it does.
func TestRelistAfterAFailedWatch(t *testing.T) {
	t.Parallel()
	b := newHealthBench(t)
	b.relist()
	b.openErr = syscall.ECONNREFUSED
	if _, err := b.lw.WatchWithContext(t.Context(), metav1.ListOptions{}); err == nil {
		t.Fatal("the watch must fail")
	}
	b.openErr = nil
	b.listsAgain(t)
}

// listsAgain opens a watch, which must end in such a way that the reflector lists again.
func (b *healthBench) listsAgain(t *testing.T) {
	t.Helper()
	select {
	case event := <-b.watch(t):
		if event.Type != watch.Error {
			t.Errorf("got %v, want the end of the watch", event)
		}
	case <-time.After(awaitTimeout):
		t.Fatal("the watch goes on")
	}
}
