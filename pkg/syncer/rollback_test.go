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
	e, ended := startOnHost(t, config, c, false)
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
func startOnHost(t *testing.T, host *rest.Config, c clock.WithTicker, standby bool) (*Engine, <-chan error) {
	t.Helper()
	e, err := NewEngine(Options{
		Cluster: testCluster(), Virtual: newListServer(t).config(), Host: host,
		Kinds: []Kind{sharedMaps(Place{Namespace: "operator", Name: "ca"})},
		Log:   silent(), Clock: c, Standby: standby,
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

// awaitRollback waits until an engine has ended because of a rollback. problem is what is wrong if it does not end.
func awaitRollback(t *testing.T, ended <-chan error, problem string) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, errRolledBack) {
			t.Errorf("The engine ended with %v", err)
		}
	case <-time.After(awaitTimeout):
		t.Error(problem)
	}
}

// TestRollbackFoundByList restores the host from a backup. A watch ends in such a way that its cache is listed
// again, before anything compares versions.
func TestRollbackFoundByList(t *testing.T) {
	t.Parallel()
	host := newListServer(t)
	host.setList(mapsPath, listAtVersion("90"))
	_, ended := startOnHost(t, host.config(), clocktesting.NewFakeClock(testStart()), false)
	host.setList(mapsPath, listAtVersion("50"))
	host.breakWatches(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	awaitRollback(t, ended, "The engine replaced its cache by that of an earlier state")
}

// TestRollbackOfAHostThatWritesMuch restores the host from a backup. Its API server has written more than was lost before
// anything compares versions, so that nothing but an object is older.
func TestRollbackOfAHostThatWritesMuch(t *testing.T) {
	t.Parallel()
	list := func(version, object string) *corev1.ConfigMapList {
		all := listAtVersion(version)
		all.Items[0].ResourceVersion = object
		return all
	}
	host := newListServer(t)
	host.setList(mapsPath, list("90", "80"))
	e, ended := startOnHost(t, host.config(), clocktesting.NewFakeClock(testStart()), false)
	host.setList(mapsPath, list("120", "40"))
	e.checkRollback(t.Context(), e.host) // The version of the host shows nothing.
	e.compareLive(t.Context())
	awaitRollback(t, ended, "The engine keeps an object that is newer than on the host")
}

// TestRollbackThatNothingShows restores the host from a backup. No watch ends and no request fails. The engine is on
// standby, so that it compares no live lists.
func TestRollbackThatNothingShows(t *testing.T) {
	t.Parallel()
	host := newListServer(t)
	host.setList(mapsPath, listAtVersion("90"))
	c := clocktesting.NewFakeClock(testStart())
	_, ended := startOnHost(t, host.config(), c, true)
	host.setList(mapsPath, listAtVersion("50"))
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
			if c.Since(testStart()) < 10*time.Minute { // Silent watches are opened again after eleven.
				c.Step(time.Second)
			}
		}
	}
}

// TestRollbackChecksAreLimited checks that a list that nobody answers does not end all checks.
func TestRollbackChecksAreLimited(t *testing.T) {
	t.Parallel()
	host := newListServer(t)
	host.setList(mapsPath, listAtVersion("90"))
	config := host.config()
	var asked, limited atomic.Bool
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.URL.Query().Get("limit") == "1" {
				_, hasDeadline := req.Context().Deadline()
				asked.Store(true)
				limited.Store(hasDeadline)
			}
			return next.RoundTrip(req)
		})
	})
	e, _ := startOnHost(t, config, clocktesting.NewFakeClock(testStart()), false)
	e.checkRollback(t.Context(), e.host)
	if !asked.Load() || !limited.Load() {
		t.Errorf("asked: %t, with a timeout: %t", asked.Load(), limited.Load())
	}
}
