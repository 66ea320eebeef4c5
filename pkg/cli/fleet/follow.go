package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

const (
	// podInterval is the time after which the pods of the tenants are listed again.
	podInterval = 30 * time.Second
	// retryInterval is the time after which a host that failed is asked again.
	retryInterval = 5 * time.Second
)

// Update is what a host has now.
type Update struct {
	// Host is its context.
	Host string
	// Clusters are all of its virtual clusters, or one row with the reason if it failed.
	Clusters []release.Cluster
	// Err is why it failed, nil if it answered.
	Err error
}

// Follow sends what a host has whenever that changes, until ctx ends. It holds one watch on the host.
// The pods of the tenants are listed again every 30 seconds.
func Follow(ctx context.Context, env *host.Env, name, namespace string, timeout time.Duration, updates chan<- Update) {
	f := &follower{name: name, namespace: namespace, timeout: timeout, updates: updates}
	for ctx.Err() == nil {
		h, err := env.HostOf(name)
		if err == nil {
			err = f.listAndWatch(ctx, h)
		}
		if err == nil {
			continue
		}
		f.clusters = []release.Cluster{Failed(name, err, timeout)}
		f.send(ctx, err)
		sleep(ctx, retryInterval)
	}
}

// follower follows one host.
type follower struct {
	name, namespace string
	timeout         time.Duration
	updates         chan<- Update
	clusters        []release.Cluster
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// send sends what is known, and why the host failed.
func (f *follower) send(ctx context.Context, err error) {
	select {
	case f.updates <- Update{Host: f.name, Clusters: slices.Clone(f.clusters), Err: err}:
	case <-ctx.Done():
	}
}

// list asks the host for everything, and sends it. It returns the version to watch from.
func (f *follower) list(ctx context.Context, h *host.Host) (version string, err error) {
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	clusters, version, err := release.ListWithVersion(bounded, h.Client, f.namespace)
	if err != nil {
		return "", err
	}
	f.clusters = Mark(clusters, f.name)
	f.send(ctx, nil)
	return version, nil
}

// listAndWatch lists and watches. It returns nil if the host has to be listed again.
func (f *follower) listAndWatch(ctx context.Context, h *host.Host) error {
	version, err := f.list(ctx, h)
	if err != nil {
		return err
	}
	source := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		options.LabelSelector = release.ControlPlanes
		return h.Client.AppsV1().StatefulSets(f.namespace).Watch(ctx, options)
	}}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, version, source)
	if err != nil {
		return err
	}
	defer func() {
		watcher.Stop()
		<-watcher.Done()
	}()
	ticker := time.NewTicker(podInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if _, err := f.list(ctx, h); err != nil {
				return err
			}
		case event, open := <-watcher.ResultChan():
			if !open {
				return nil
			}
			if err := f.apply(ctx, event); err != nil {
				return err
			}
		}
	}
}

// apply applies one event of the watch, and sends the result. A version that is too old is no error:
// the watch ends, and the host is listed again.
func (f *follower) apply(ctx context.Context, event watch.Event) error {
	if event.Type == watch.Error {
		if err := apierrors.FromObject(event.Object); !apierrors.IsGone(err) && !apierrors.IsResourceExpired(err) {
			return fmt.Errorf("cannot watch StatefulSets: %w", err)
		}
		return nil
	}
	workload, ok := event.Object.(*appsv1.StatefulSet)
	if !ok {
		return nil
	}
	changed := release.FromWorkload(workload)
	changed.Context = f.name
	at := slices.IndexFunc(f.clusters, func(c release.Cluster) bool { return c.Release == changed.Release })
	switch {
	case event.Type == watch.Deleted && at >= 0:
		f.clusters = slices.Delete(f.clusters, at, at+1)
	case event.Type == watch.Deleted:
		return nil
	case at >= 0:
		f.clusters[at] = changed.WithRequestsOf(f.clusters[at])
	default:
		f.clusters = append(f.clusters, changed)
		release.Sort(f.clusters)
	}
	f.send(ctx, nil)
	return nil
}
