package autoscale

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// Period is the time between two decisions. It is that of the HorizontalPodAutoscaler.
	Period = 15 * time.Second
	// staleAfter is how old a report may be.
	staleAfter = 3 * ReportPeriod
	// hostTimeout bounds one request to the host.
	hostTimeout = 10 * time.Second
)

// Scaler sets the number of replicas of the workload by the rates in the store. The leader runs
// it. All fields but Recorded are required.
type Scaler struct {
	// Limits bound its decisions.
	Limits Limits
	// Store returns the client of the store.
	Store func() kubernetes.Interface
	// Workloads are those of the release's namespace, and Workload the name of the one to scale.
	Workloads v1.StatefulSetInterface
	Workload  string
	// Replicas returns how many replicas the workload is to have now, and the names of their
	// pods. ok is false if that is not known.
	Replicas func() (pods []string, ok bool)
	// Recorded records that the workload was scaled, or why it could not be. Default: nothing.
	Recorded func(failed bool, message string)
	// Clock is the time.
	Clock clock.WithTicker

	mu     sync.Mutex
	status status
}

// Run scales for one term of the leader, until ctx ends. No failure ends it.
func (s *Scaler) Run(ctx context.Context) error {
	ticker := s.Clock.NewTicker(Period)
	defer ticker.Stop()
	s.set(func(st *status) { *st = status{leads: true} })
	defer s.set(func(st *status) { *st = status{} })
	term := &term{scaler: s, seen: map[string]seenRate{}}
	for {
		if err := term.look(ctx); err != nil && ctx.Err() == nil {
			klog.V(2).InfoS("Cannot decide the number of replicas, retrying", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// term is what the scaler has seen since it leads.
type term struct {
	scaler  *Scaler
	seen    map[string]seenRate // pod -> its last report
	looked  bool                // whether seen has what there was at the start
	history history
}

// seenRate is a report as the leader has seen it.
type seenRate struct {
	storedRate

	// since is when it was first seen. It is zero for one from before the term, which may be old.
	since time.Time
}

// look decides once, and scales if needed.
func (t *term) look(ctx context.Context) error {
	s := t.scaler
	rates, err := readRates(ctx, s.Store())
	if err != nil {
		s.set(func(st *status) { st.lastError = err.Error() })
		return err
	}
	now := s.Clock.Now()
	t.observe(rates, now)
	pods, ok := s.Replicas()
	if !ok || len(pods) == 0 {
		return nil // It was scaled to 0 by hand, or is gone.
	}
	l := t.load(pods, now)
	if len(t.history.past) == 0 {
		// Nobody knows what an earlier leader has seen.
		t.history.stabilize(now, l.current, l.current, s.Limits)
	}
	asked := recommend(l, s.Limits)
	count := t.history.stabilize(now, l.current, asked, s.Limits)
	count = min(max(count, s.Limits.Min), s.Limits.Max)
	s.observe(l, asked, count)
	if count == l.current {
		s.set(func(st *status) { st.lastError = "" })
		return nil
	}
	return s.scale(ctx, l, count)
}

// observe records the reports of all replicas.
func (t *term) observe(rates map[string]storedRate, now time.Time) {
	for pod := range t.seen {
		if _, ok := rates[pod]; !ok {
			delete(t.seen, pod)
		}
	}
	for pod, rate := range rates {
		before, known := t.seen[pod]
		switch {
		case !known && !t.looked:
			t.seen[pod] = seenRate{storedRate: rate}
		case !known:
			t.seen[pod] = seenRate{rate, now}
		case before.revision != rate.revision:
			t.seen[pod] = seenRate{rate, now}
		}
	}
	t.looked = true
}

// load adds up the reports of the pods that are new enough.
func (t *term) load(pods []string, now time.Time) load {
	l := load{current: len(pods)}
	for _, pod := range pods {
		rate, ok := t.seen[pod]
		if !ok || rate.since.IsZero() || now.Sub(rate.since) > staleAfter {
			l.missing++
			continue
		}
		l.rate += rate.Rate
	}
	return l
}

// scale writes the number of replicas, if it is still the one of the decision.
func (s *Scaler) scale(ctx context.Context, l load, count int) error {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/spec/replicas", "value": l.current},
		{"op": "replace", "path": "/spec/replicas", "value": count},
	})
	if err != nil {
		return fmt.Errorf("cannot encode the number of replicas: %w", err)
	}
	if _, err := s.Workloads.Patch(ctx, s.Workload, types.JSONPatchType, patch, metav1.PatchOptions{}, "scale"); err != nil {
		err = fmt.Errorf("cannot patch the scale of host StatefulSet %s: %w", s.Workload, err)
		s.recordFailure(err)
		return err
	}
	s.recordScaled(l, count)
	return nil
}
