package controlplane

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	flowcontrolbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubernetes/pkg/apis/core"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// hookContext returns what the API server passes to a hook.
func hookContext(ctx context.Context) genericapiserver.PostStartHookContext {
	return genericapiserver.PostStartHookContext{Context: ctx}
}

// untilStopped waits for a stop, without a success or a failure.
func untilStopped(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestStartTasksHook(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		run    func(ctx context.Context, succeeded func()) error
		detail func() string
		// hangs is true if the start waits until the first attempt has taken too long.
		hangs bool
		// stopped ends the API server before the hook.
		stopped  bool
		healthy  bool
		detailed string
	}{
		"Success": {
			reason: "the start waits for the first success",
			run: func(ctx context.Context, succeeded func()) error {
				succeeded()
				return untilStopped(ctx, nil)
			},
			healthy: true,
		},
		"Failure": {
			reason:   "a failure does not hold up the start, and is shown with its reason",
			run:      func(context.Context, func()) error { return errors.New("no space") },
			detailed: "task: no space",
		},
		"EndsByItself": {
			reason:   "a task that ends without an error has not done its work",
			run:      func(context.Context, func()) error { return nil },
			detailed: "task: it ended although nobody stopped it",
		},
		"Hangs": {
			reason:   "a task that neither succeeds nor fails holds up the start for a while only",
			run:      untilStopped,
			hangs:    true,
			detail:   func() string { return "POST /api: code 507" },
			detailed: "task: not done yet, POST /api: code 507",
		},
		"Stopped": {
			reason:   "a stop during the start is no failure, which would end the process",
			run:      untilStopped,
			stopped:  true,
			detailed: "task: not done yet",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			quiet()
			tasks := newStartTasks(testingclock.NewFakeClock(time.Now()), startTask{name: "task", run: tc.run, detail: tc.detail})
			tasks.firstAttempt = patience
			if tc.hangs {
				tasks.firstAttempt = 20 * time.Millisecond
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.stopped {
				cancel()
			}
			if err := tasks.hook(hookContext(ctx)); err != nil {
				t.Errorf("%s: got %v, want no error", tc.reason, err)
			}
			check := tasks.check()
			if got := strings.Join(check.Details, "\n"); check.Healthy != tc.healthy || got != tc.detailed {
				t.Errorf("%s: got healthy %v with %q, want %v with %q", tc.reason, check.Healthy, got, tc.healthy, tc.detailed)
			}
			if strings.Contains(check.Message, "no space") {
				t.Errorf("the message for tenants quotes an error: %q", check.Message)
			}
		})
	}
}

// TestStartTasksPace fails a task for ever and counts the pauses. A success starts
// again at the shortest.
func TestStartTasksPace(t *testing.T) {
	t.Parallel()
	quiet()
	clock := testingclock.NewFakeClock(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attempts := make(chan struct{})
	count := 0
	tasks := newStartTasks(clock, startTask{name: "task", run: func(_ context.Context, succeeded func()) error {
		if count++; count == 9 {
			succeeded()
		}
		attempts <- struct{}{}
		return errors.New("broken")
	}})
	go tasks.keep(ctx, tasks.tasks["task"], func() {})
	for i, want := range []int{1, 2, 4, 8, 16, 32, 60, 60, 1, 2} {
		<-attempts
		eventually(t, "pause", func(context.Context) string {
			if !clock.HasWaiters() {
				return "the task does not wait"
			}
			return ""
		})
		clock.Step(time.Duration(want)*time.Second - time.Millisecond)
		select {
		case <-attempts:
			t.Fatalf("attempt %d came before %d s", i+2, want)
		default:
		}
		clock.Step(time.Millisecond)
	}
}

// TestFlowControlWithAFullStore denies all creates and checks that the mandatory
// objects come first, and that nothing is left out once there is space.
func TestFlowControlWithAFullStore(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset()
	full := true
	var order []string
	client.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateAction).GetObject().(metav1.Object)
		order = append(order, create.GetName())
		if full {
			return true, nil, newInsufficientStorage(&storage.FullError{})
		}
		return false, nil, nil
	})
	factory := informers.NewSharedInformerFactory(client, 0)
	flow := &flowControl{client: client.FlowcontrolV1(), informers: factory, clock: testingclock.NewFakeClock(time.Now())}
	factory.Flowcontrol().V1().PriorityLevelConfigurations().Informer()
	factory.Flowcontrol().V1().FlowSchemas().Informer()
	factory.Start(t.Context().Done())

	err := flow.run(t.Context(), func() { t.Error("success in a full store") })
	if err == nil || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown && !strings.Contains(err.Error(), "full") {
		t.Fatalf("got %v, want the reason of the store", err)
	}
	if want := flowcontrolbootstrap.MandatoryPriorityLevelConfigurations[0].Name; order[0] != want {
		t.Errorf("the first object: got %s, want %s: the mandatory ones matter most", order[0], want)
	}

	full = false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := flow.run(ctx, cancel); err != nil {
		t.Fatal(err)
	}
	levels, err := client.FlowcontrolV1().PriorityLevelConfigurations().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := client.FlowcontrolV1().FlowSchemas().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantLevels := len(flowcontrolbootstrap.MandatoryPriorityLevelConfigurations) + len(flowcontrolbootstrap.SuggestedPriorityLevelConfigurations)
	wantSchemas := len(flowcontrolbootstrap.MandatoryFlowSchemas) + len(flowcontrolbootstrap.SuggestedFlowSchemas)
	if len(levels.Items) != wantLevels || len(schemas.Items) != wantSchemas {
		t.Errorf("got %d levels and %d schemas, want %d and %d", len(levels.Items), len(schemas.Items), wantLevels, wantSchemas)
	}
}

// TestFailureRecorder sends requests of which some fail.
func TestFailureRecorder(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		method string
		code   int
		err    error
		want   string
	}{
		"Read":    {reason: "a failed read is no failed write", method: http.MethodGet, code: http.StatusNotFound},
		"Success": {reason: "a write that succeeds is nothing to report", method: http.MethodPost, code: http.StatusCreated},
		"Denied":  {reason: "the code tells why", method: http.MethodPost, code: http.StatusInsufficientStorage, want: "POST /things: code 507"},
		"Lost":    {reason: "so does the error", method: http.MethodDelete, err: errors.New("no answer"), want: "DELETE /things: no answer"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recorder := &failureRecorder{}
			config := recorder.wrap(&rest.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: tc.code, Body: http.NoBody}, tc.err
			})})
			transport, err := rest.TransportFor(config)
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), tc.method, "https://memory/things", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = transport.RoundTrip(req)
			if got := recorder.lastFailure(); got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

// TestNodePortRecord writes the record of node ports as upstream's repair does.
func TestNodePortRecord(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	var failures []error
	record := &nodePortRecord{storage: p.server.Load().nodePorts, failed: func(err error) { failures = append(failures, err) }}
	current, err := record.Get()
	if err != nil {
		t.Fatal(err)
	}
	if current.ResourceVersion == "" || current.Range == "" {
		t.Fatalf("got %v, want the record that the start has written", current)
	}
	stale := current.DeepCopy()
	if err := record.CreateOrUpdate(current); err != nil {
		t.Fatal(err)
	}
	stale.ResourceVersion, stale.Data = "1", []byte("stale")
	if err := record.CreateOrUpdate(stale); !apierrors.IsConflict(err) {
		t.Errorf("a record that has changed: got %v, want a conflict", err)
	}
	if err := record.CreateOrUpdate(&core.RangeAllocation{}); !apierrors.IsConflict(err) {
		t.Errorf("a record that somebody else has created: got %v, want a conflict", err)
	}
	if len(failures) > 0 {
		t.Errorf("conflicts are repeated by the caller, and no failures: %v", failures)
	}
	if _, ok := p.server.Load().aggregator.GenericAPIServer.MuxAndDiscoveryCompleteSignals()[customResources]; !ok {
		t.Errorf("upstream has no signal %q any more, which a stop waits for", customResources)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := record.CreateOrUpdate(current); err == nil || len(failures) != 1 {
		t.Errorf("a store that has stopped: got %v and %d failures, want one", err, len(failures))
	}
}
