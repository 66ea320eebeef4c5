package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/hostlab/sim"
)

// crowd are five virtual clusters on one host with 20 nodes: 160 CPUs, 40 GPUs.
type crowd struct {
	host  *sim.Host
	shops []*shop
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{host: newHost(t, 20)}
	for i := range 5 {
		c.shops = append(c.shops, open(t, c.host, fmt.Sprintf("tenant-%d", i), nil))
	}
	return c
}

// all does the same in every shop at the same time.
func (c *crowd) all(do func(*shop) error) error {
	errs := make([]error, len(c.shops))
	var group sync.WaitGroup
	for i, s := range c.shops {
		group.Go(func() { errs[i] = do(s) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// countBound returns how many pods of all shops have a node, or where the sides differ.
func (c *crowd) countBound(ctx context.Context) (int, error) {
	total := 0
	var problems []error
	for _, s := range c.shops {
		n, err := s.agree(ctx)
		total += n
		problems = append(problems, err)
	}
	return total, errors.Join(append(problems, overcommitted(ctx, c.host))...)
}

// pending returns an error that describes each pod that has no node, on both sides.
func (c *crowd) pending(ctx context.Context) error {
	var problems []error
	for _, s := range c.shops {
		pods, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for i := range pods.Items {
			if pod := &pods.Items[i]; pod.Spec.NodeName == "" {
				problems = append(problems, fmt.Errorf("%s/%s nominated to %q, %v", s.name, pod.Name, pod.Status.NominatedNodeName, pod.Status.Conditions))
			}
		}
	}
	hosts, err := c.host.Client().CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName="})
	if err != nil {
		return errors.Join(append(problems, err)...)
	}
	for i := range hosts.Items {
		pod := &hosts.Items[i]
		problems = append(problems, fmt.Errorf("host %s pinned to %q, %v", pod.Name, pod.Annotations[labels.Place], pod.Status.Conditions))
	}
	return errors.Join(problems...)
}

// watchful looks at the host again and again until stop is called, which returns
// what was ever wrong with it.
func (c *crowd) watchful(t *testing.T) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	found := make(chan error, 1)
	go func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			if err := overcommitted(ctx, c.host); errors.Is(err, errOvercommitted) { // A list may fail.
				found <- err
				return
			}
			select {
			case <-ctx.Done():
				found <- nil
				return
			case <-ticker.C:
			}
		}
	}()
	return func() error { cancel(); return <-found }
}

// TestCrowd lets five virtual clusters request twice the free CPUs and GPUs at the same
// time. What is free is used, and nothing more. When there is more, everything runs.
func TestCrowd(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	stop := c.watchful(t)
	err := c.all(func(s *shop) error {
		return errors.Join(
			// 80 of 40. Without a request of its own, the LimitRange gives the host pod one.
			s.burst(t.Context(), "gpu", 16, string(gpu), "1", "cpu", "0"),
			s.burst(t.Context(), "cpu", 32, "cpu", "2"), // 320 of 160
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	// No pod requests both, so how many find room does not depend on who comes first.
	// There are 40 with a GPU each, and 80 with two CPUs each.
	eventually(t, "what the host has is used", func(ctx context.Context) error {
		n, err := c.countBound(ctx)
		if err == nil && n < 120 {
			err = fmt.Errorf("%d of 120 pods are bound", n)
		}
		return err
	})
	if err := c.host.AddNodes(t.Context(), 25); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all run where there is room for all", func(ctx context.Context) error {
		n, err := c.countBound(ctx)
		if err == nil && n != 240 {
			err = fmt.Errorf("%d of 240 pods are bound", n)
		}
		return err
	})
	if err := stop(); err != nil {
		t.Errorf("the host was overcommitted on the way: %v", err)
	}
}

// TestCrashes kills servers at random moments while they place pods.
func TestCrashes(t *testing.T) {
	t.Parallel()
	host := newHost(t, 4)
	c := &crowd{host: host, shops: []*shop{open(t, host, "crash-a", map[string]any{"hostUsage": false}), open(t, host, "crash-b", nil)}}
	stop := c.watchful(t)
	for round := range 5 {
		// Eight CPUs of 32 each time, and as much again that finds no room at the end.
		err := c.all(func(s *shop) error { return s.burst(t.Context(), fmt.Sprintf("round-%d", round), 8, "cpu", "1") })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(150 * time.Millisecond)) // the moment of the crash is what is tested
		for _, s := range c.shops {
			s.crash(t.Context(), t)
		}
	}
	eventually(t, "the host is full and both sides agree", func(ctx context.Context) error {
		n, err := c.countBound(ctx)
		if err == nil && n != 32 {
			err = errors.Join(fmt.Errorf("%d of 32 pods are bound", n), c.pending(ctx))
		}
		return err
	})
	if err := host.AddNodes(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all run where there is room for all", func(ctx context.Context) error {
		n, err := c.countBound(ctx)
		if err == nil && n != 80 {
			err = errors.Join(fmt.Errorf("%d of 80 pods are bound", n), c.pending(ctx))
		}
		return errors.Join(err, c.all(func(s *shop) error { return s.allRun(ctx) }))
	})
	if err := stop(); err != nil {
		t.Errorf("the host was overcommitted on the way: %v", err)
	}
}

// allRun returns an error that names a pod which is not Running.
func (s *shop) allRun(ctx context.Context) error {
	pods, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("%s is %s", pod.Name, pod.Status.Phase)
		}
	}
	return nil
}
