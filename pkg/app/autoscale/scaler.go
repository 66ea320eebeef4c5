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
	// staleAfter is the age from which a report is ignored.
	staleAfter = 3 * ReportPeriod
	// hostTimeout bounds one request to the host.
	hostTimeout = 10 * time.Second
)

// Outcome is what became of a change of the number of replicas.
type Outcome struct {
	// Failed is true if the number could not be changed.
	Failed bool
	// Message is for a person.
	Message string
}

// Scaler sets the number of replicas of the workload according to the rates in the store. Only
// the leader runs it. All fields but Recorded are required.
type Scaler struct {
	// Limits are the settings of its decisions.
	Limits Limits
	// Store returns the client of the store.
	Store func() kubernetes.Interface
	// Workloads is the client of the release's namespace. Workload is the name of the
	// StatefulSet to scale.
	Workloads v1.StatefulSetInterface
	Workload  string
	// Replicas returns the names of the pods that the workload wants now. ok is false if that is
	// not known.
	Replicas func() (pods []string, ok bool)
	// Recorded is called after the workload was scaled, or could not be. Default: no call.
	Recorded func(Outcome)
	// Clock is the time.
	Clock clock.WithTicker

	mu     sync.Mutex
	status status
}

// Run scales during one leader term, until ctx ends. It retries after failures.
func (s *Scaler) Run(ctx context.Context) error {
	ticker := s.Clock.NewTicker(Period)
	defer ticker.Stop()
	s.set(func(st *status) { *st = status{leads: true} })
	defer s.set(func(st *status) { *st = status{} })
	term := &term{scaler: s, seen: map[string]seenRate{}}
	for {
		if err := term.decide(ctx); err != nil && ctx.Err() == nil {
			klog.V(2).InfoS("Cannot decide the number of replicas, retrying", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// term is the state of the scaler during one leader term.
type term struct {
	scaler  *Scaler
	seen    map[string]seenRate // pod -> its last report
	looked  bool                // the reports at the start of the term are in seen
	history history
}

// seenRate is a report and when the leader first saw it.
type seenRate struct {
	storedRate

	// since is when the report was first seen. It is zero for a report from before the term,
	// whose age is unknown.
	since time.Time
}

// decide decides once, and scales the workload if needed.
func (t *term) decide(ctx context.Context) error {
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
		s.set(func(st *status) { st.lastError = "" })
		return nil // The workload was scaled to 0 by hand, or does not exist.
	}
	l := t.load(pods, now)
	if len(t.history.past) == 0 {
		// What earlier leaders saw is unknown, so the current number starts the windows.
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

// load sums the recent reports of the pods.
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

// scale sets the number of replicas. It fails if the number is no longer the one that the
// decision was based on.
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
