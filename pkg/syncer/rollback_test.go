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
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
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

// mapsPath is the path of the list of ConfigMaps that the tests' engine watches.
const mapsPath = "/api/v1/namespaces/operator/configmaps"

// listAtVersion returns a list of one ConfigMap at a version.
func listAtVersion(version string) *corev1.ConfigMapList {
	return &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: version}, Items: []corev1.ConfigMap{mapIn("operator", "ca")}}
}

// TestRollbackOfAHostThatStarts restores the host from a backup. Its API server denies the first list, as one that has not
// read the roles yet. The roles allow lists of one object alone.
func TestRollbackOfAHostThatStarts(t *testing.T) {
	t.Parallel()
	host := newListServer(t)
	host.setList(mapsPath, listAtVersion("90"))
	config := host.config()
	config.Wrap(denyFirst)
	c := clocktesting.NewFakeClock(testStart())
	e, ended := startOnHost(t, config, c)
	host.setList(mapsPath, listAtVersion("50"))
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
			t.Fatal("The engine keeps caches that are newer than the host")
		case <-tick.C:
			if c.Since(testStart()) < 50*time.Second { // Comparisons with live lists begin after a minute.
				c.Step(20 * time.Millisecond)
			}
		}
	}
}

// startOnHost starts an engine that watches one object of a host, and waits until it has synced.
func startOnHost(t *testing.T, host *rest.Config, c clock.WithTicker) (*Engine, <-chan error) {
	t.Helper()
	e, err := NewEngine(Options{
		Cluster: testCluster(), Virtual: newListServer(t).config(), Host: host,
		Kinds: []Kind{sharedMaps(Place{Namespace: "operator", Name: "ca"})},
		Log:   silent(), Clock: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- e.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		for range ended {
			continue
		}
	})
	<-e.Synced()
	return e, ended
}

// TestRollbackFoundByList restores the host from a backup. A watch ends in such a way that its cache is listed
// again, before anything compares versions.
func TestRollbackFoundByList(t *testing.T) {
	t.Parallel()
	host := newListServer(t)
	host.setList(mapsPath, listAtVersion("90"))
	_, ended := startOnHost(t, host.config(), clocktesting.NewFakeClock(testStart()))
	host.setList(mapsPath, listAtVersion("50"))
	host.breakWatches(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	select {
	case err := <-ended:
		if !errors.Is(err, errRolledBack) {
			t.Errorf("The engine ended with %v", err)
		}
	case <-time.After(awaitTimeout):
		t.Error("The engine replaced its cache by that of an earlier state")
	}
}
