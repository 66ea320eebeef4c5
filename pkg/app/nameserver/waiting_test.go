package nameserver

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// answers is a transport that answers with one status after the other. 0 is an error.
type answers struct {
	codes []int
	asked int
	each  func()
}

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	code := a.codes[min(a.asked, len(a.codes)-1)]
	a.asked++
	a.each()
	if code == 0 {
		return nil, errors.New("refused")
	}
	return &http.Response{StatusCode: code, Body: http.NoBody}, nil
}

func TestWaitingTransport(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, method string
		codes          []int
		cancelAt       int
		asked, code    int
	}{
		"Answer":   {reason: "no wait", method: http.MethodGet, codes: []int{200}, asked: 1, code: 200},
		"Restart":  {reason: "the API server is away, then starts", method: http.MethodGet, codes: []int{0, 0, 503, 200}, asked: 4, code: 200},
		"Denied":   {reason: "an answer that a wait does not change", method: http.MethodGet, codes: []int{403}, asked: 1, code: 403},
		"Write":    {reason: "a write is sent once", method: http.MethodPost, codes: []int{503}, asked: 1, code: 503},
		"Canceled": {reason: "the server stops", method: http.MethodGet, codes: []int{0}, cancelAt: 3, asked: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			clock := clocktesting.NewFakeClock(time.Unix(0, 0))
			next := &answers{codes: tc.codes}
			next.each = func() {
				if tc.cancelAt == next.asked {
					cancel()
				}
			}
			go func() { // a step as soon as somebody waits
				for ctx.Err() == nil { // until the test ends
					if clock.HasWaiters() {
						clock.Step(retryInterval)
					}
				}
			}()
			request, err := http.NewRequestWithContext(ctx, tc.method, "https://api.example", nil)
			if err != nil {
				t.Fatal(err)
			}
			transport := waitingTransport{next: next, clock: clock, away: &atomic.Bool{}}
			response, err := transport.RoundTrip(request)
			if next.asked != tc.asked || (err == nil) != (tc.code != 0) {
				t.Fatalf("%s: %d requests and error %v, want %d", tc.reason, next.asked, err, tc.asked)
			}
			if err != nil {
				return
			}
			defer response.Body.Close()
			if response.StatusCode != tc.code || transport.away.Load() {
				t.Errorf("%s: status %d, away: %t, want %d", tc.reason, response.StatusCode, transport.away.Load(), tc.code)
			}
		})
	}
}
