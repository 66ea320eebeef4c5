package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/test/await"
)

// TestDelayedReadProvesNothing reads a host pod from a host that is late. A read that has waited for the limits proves
// nothing about the host, also if it was sent in the end. Otherwise a tenant could fill the queue of the limits, so
// that an old proof counts.
func TestDelayedReadProvesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		busy    bool // the limits are used up
		granted bool // the limits let the read pass in the end
		want    bool // the host counts as one that responds
	}{
		"Silent":  {reason: "the host had all of the time"},
		"Waiting": {reason: "the read was never sent", busy: true, want: true},
		"Late":    {reason: "the read was sent late", busy: true, granted: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached := make(chan struct{}, 1)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				reached <- struct{}{}
				<-r.Context().Done()
			}))
			t.Cleanup(server.Close)
			fake := clocktesting.NewFakeClock(time.Unix(0, 0))
			limiter := syncer.NewHostLimiter(syncer.HostLimits{RequestsPerSecond: 1, Burst: 1}, fake)
			client, err := kubernetes.NewForConfig(syncer.AnswerOnce(limiter.Wrap(&rest.Config{Host: server.URL})))
			if err != nil {
				t.Fatal(err)
			}
			read := func() (context.CancelFunc, chan error) {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					_, err := getHostPod(ctx, client, types.NamespacedName{Namespace: "tenant", Name: "front"})
					done <- err
				}()
				return cancel, done
			}
			if tc.busy {
				cancel, done := read()
				<-reached
				cancel()
				if err := <-done; err == nil {
					t.Error("a read that was given up has an answer")
				}
			}
			cancel, done := read()
			defer cancel()
			if tc.busy {
				awaitWaiters(t, fake)
			}
			if tc.granted {
				fake.Step(time.Second)
			}
			if !tc.busy || tc.granted {
				<-reached
			}
			cancel()
			if err := <-done; err == nil || apierrors.IsTooManyRequests(err) != tc.want {
				t.Errorf("%s: got %v, want code 429: %t", tc.reason, err, tc.want)
			}
		})
	}
}

// awaitWaiters waits until somebody waits for the clock.
func awaitWaiters(t *testing.T, fake *clocktesting.FakeClock) {
	t.Helper()
	await.Until(t, "a read that waits", func(context.Context) error {
		if !fake.HasWaiters() {
			return errors.New("nobody waits for the clock")
		}
		return nil
	})
}
