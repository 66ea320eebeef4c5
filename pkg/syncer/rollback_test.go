package syncer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
)

// denyFirst wraps the transport to a host whose roles allow lists of one object alone. The first list for its version is denied.
func denyFirst(next http.RoundTripper) http.RoundTripper {
	var asked atomic.Bool
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		query := req.URL.Query()
		if query.Get("limit") != "1" || asked.Swap(true) && strings.Contains(query.Get("fieldSelector"), "metadata.name=ca") {
			return next.RoundTrip(req)
		}
		return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	})
}

// TestRollbackOfAHostThatStarts restores the host from a backup. Its API server denies the first list, as one that has not
// read the roles yet. The roles allow lists of one object alone.
func TestRollbackOfAHostThatStarts(t *testing.T) {
	t.Parallel()
	const path = "/api/v1/namespaces/operator/configmaps"
	at := func(version string) *corev1.ConfigMapList {
		return &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: version}, Items: []corev1.ConfigMap{mapIn("operator", "ca")}}
	}
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newListServer(t), newListServer(t)
	host.setList(path, at("90"))
	config := host.config()
	config.Wrap(denyFirst)
	e, err := NewEngine(Options{
		Cluster: testCluster(), Virtual: virtual.config(), Host: config, Kinds: []Kind{sharedMaps(Place{Namespace: "operator", Name: "ca"})},
		Log: silent(), Clock: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	<-e.Synced()
	host.setList(path, at("50"))
	e.suspectRollback()
	deadline := time.After(awaitTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if !errors.Is(err, errRolledBack) {
				t.Errorf("The engine ended with %v", err)
			}
			return
		case <-deadline:
			cancel()
			t.Fatalf("The engine keeps caches that are newer than the host, and ends with %v", <-ended)
		case <-tick.C:
			if c.Since(testStart()) < 30*time.Second { // Comparisons with live lists begin after a minute.
				c.Step(100 * time.Millisecond)
			}
		}
	}
}
