package app

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/component-base/metrics/testutil"
)

// TestPanics lets a worker panic, which continues, and a request, whose answer is cut off.
//
//nolint:paralleltest // The settings are those of the process.
func TestPanics(t *testing.T) {
	crash, handlers := utilruntime.ReallyCrash, utilruntime.PanicHandlers
	limitPanics()
	defer func() { utilruntime.ReallyCrash, utilruntime.PanicHandlers = crash, handlers }()
	t.Run("worker", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		rounds := 0
		wait.UntilWithContext(ctx, func(context.Context) {
			if rounds++; rounds > 1 {
				cancel()
				return
			}
			var answer runtime.Object = &metav1.Status{}
			_ = answer.(*autoscalingv1.Scale) // as client-go's client of scales does with a Status
		}, time.Millisecond)
		if rounds != 2 {
			t.Errorf("%d rounds, want 2", rounds)
		}
		if counted, err := testutil.GetCounterMetricValue(panicCount()); err != nil || counted != 1 {
			t.Errorf("the metric has %v panics, want 1: %v", counted, err)
		}
	})
	t.Run("listener", func(t *testing.T) {
		for function, want := range map[string]bool{
			"k8s.io/apiserver/pkg/server.RunServer.func2": true, "k8s.io/apiserver/pkg/server.runPostStartHook": true,
			"k8s.io/apiserver/pkg/server.runPostStartHook.func1": true, "k8s.io/apimachinery/pkg/util/wait.JitterUntil": false,
			"k8s.io/kubernetes/pkg/scheduler.(*Scheduler).ScheduleOne": true,
		} {
			if got := endsProcess(function); got != want {
				t.Errorf("%s: got %t, want %t", function, got, want)
			}
		}
	})
	t.Run("request", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer utilruntime.HandleCrash()
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}))
		defer server.Close()
		response, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if _, err := io.ReadAll(response.Body); err == nil {
			t.Error("the client takes a part of the answer for the whole")
		}
	})
}
