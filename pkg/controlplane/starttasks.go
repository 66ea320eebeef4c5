package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// firstAttempt is how long a start waits for the first attempt of each task. After that, both continue.
const firstAttempt = 5 * time.Second

// startTask is a task that upstream does in a post-start hook. In a hook, a failure or a stop during the
// start would end the process.
type startTask struct {
	name string
	// run works until ctx ends. It calls succeeded after each success. It returns early
	// with the reason of a failure, and is called again.
	run func(ctx context.Context, succeeded func()) error
	// detail returns what is known about a task that has not succeeded yet. nil means
	// nothing.
	detail func() string
}

// startTasks runs the tasks of a start. A failed task does not end the start, because objects of a tenant
// or a full store may cause it. It is reported and retried.
type startTasks struct {
	clock clock.WithTicker
	// firstAttempt is the limit of that name.
	firstAttempt time.Duration

	mu      sync.Mutex
	tasks   map[string]startTask
	failing map[string]string // task -> why, empty while it has not been tried
}

// newStartTasks returns the runner of some tasks.
func newStartTasks(clock clock.WithTicker, tasks ...startTask) *startTasks {
	s := &startTasks{
		clock: clock, firstAttempt: firstAttempt,
		tasks: map[string]startTask{}, failing: map[string]string{},
	}
	for _, task := range tasks {
		s.tasks[task.name] = task
		s.failing[task.name] = ""
	}
	return s
}

// hook runs all tasks until the API server stops. It returns after the first attempt of
// each. It never returns an error, which would end the process.
func (s *startTasks) hook(hook genericapiserver.PostStartHookContext) error {
	attempted := make(chan struct{}, len(s.tasks))
	for _, task := range s.tasks {
		go s.keep(hook, task, sync.OnceFunc(func() { attempted <- struct{}{} }))
	}
	limit := time.NewTimer(s.firstAttempt)
	defer limit.Stop()
	for range s.tasks {
		select {
		case <-attempted:
		case <-limit.C:
			klog.InfoS("Starting without some tasks, which continue in the background", "tasks", s.listFailing())
			return nil
		case <-hook.Done():
			return nil
		}
	}
	return nil
}

// keep runs a task until ctx ends. After a failure it pauses, twice as long each time.
func (s *startTasks) keep(ctx context.Context, task startTask, attempted func()) {
	pause := firstRepair
	succeeded := func() {
		pause = firstRepair
		s.recordSuccess(task.name)
		attempted()
	}
	for {
		err := task.run(ctx, succeeded)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended although nobody stopped it")
		}
		s.recordFailure(task.name, err)
		attempted()
		select {
		case <-ctx.Done():
			return
		case <-s.clock.After(pause):
		}
		pause = min(2*pause, lastRepair)
	}
}

// failingTasks is the metric of tasks that do not succeed.
var failingTasks = sync.OnceValue(func() *metrics.Gauge { //nolint:gochecknoglobals // a metric is one per process
	return meter.Gauge("sublet_start_tasks_failing", "Background tasks of the control plane's start that have not succeeded.")
})

// recordFailure records why a task failed, and logs it once for each reason.
func (s *startTasks) recordFailure(task string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := err.Error()
	if s.failing[task] != reason {
		klog.ErrorS(err, "A task of the start failed, retrying", "task", task)
	}
	s.failing[task] = reason
	failingTasks().Set(float64(len(s.failing)))
}

// recordSuccess records that a task has succeeded.
func (s *startTasks) recordSuccess(task string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing[task] != "" {
		klog.InfoS("A task of the start has succeeded", "task", task)
	}
	delete(s.failing, task)
	failingTasks().Set(float64(len(s.failing)))
}

// forget drops the state of a task that nobody runs any more.
func (s *startTasks) forget(task string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failing, task)
	failingTasks().Set(float64(len(s.failing)))
}

// listFailing returns the names of the tasks that have not succeeded, sorted.
func (s *startTasks) listFailing() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.failing))
}

// check returns the health of the tasks.
func (s *startTasks) check() syncz.Check {
	names := s.listFailing()
	check := syncz.Check{Name: "start tasks", Healthy: len(names) == 0, Message: "all succeeded"}
	if check.Healthy {
		return check
	}
	for _, name := range names {
		check.Details = append(check.Details, name+": "+s.reasonOf(name))
	}
	check.Message = fmt.Sprintf("%d have not succeeded, retrying: %s", len(names), strings.Join(names, ", "))
	return check
}

// reasonOf returns why a task has not succeeded.
func (s *startTasks) reasonOf(name string) string {
	s.mu.Lock()
	reason := s.failing[name]
	s.mu.Unlock()
	if reason == "" {
		reason = "not done yet"
	}
	if task := s.tasks[name]; task.detail != nil {
		if detail := task.detail(); detail != "" {
			reason += ", " + detail
		}
	}
	return reason
}

// errorOf returns an error if a task has not succeeded.
func (s *startTasks) errorOf(name string) error {
	s.mu.Lock()
	_, failing := s.failing[name]
	s.mu.Unlock()
	if !failing {
		return nil
	}
	return errors.New(s.reasonOf(name))
}
