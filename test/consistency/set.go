package consistency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// setLabel selects the elements of a set, and the name of the set is its value.
const setLabel = "consistency.sublet.dev/set"

// Set is a workload of ConfigMaps that are created and listed, and never deleted.
type Set struct {
	options Options
	name    string
	started time.Time

	mu       sync.Mutex
	next     int
	elements []element
	lists    []list
}

// element is a create of one element.
type element struct {
	name       string
	outcome    outcome
	version    uint64
	call, back time.Duration
}

// list is an answer with all elements.
type list struct {
	names      map[string]bool
	version    uint64
	call, back time.Duration
}

// NewSet returns a workload that has not started. Its elements have names that begin with
// name.
func NewSet(name string, o Options) *Set {
	return &Set{options: o.withDefaults(), name: name, started: time.Now()}
}

// Run runs the clients until ctx ends.
func (s *Set) Run(ctx context.Context) {
	s.options.run(ctx, func(ctx context.Context, _ int, random *rand.Rand) {
		if random.IntN(10) == 0 {
			// A list without an answer is no evidence.
			_ = request(ctx, s.options.Pick, s.options.Timeout, s.list)
			return
		}
		s.create(ctx)
	})
}

// Finish lists the set once more, until a replica answers.
func (s *Set) Finish(ctx context.Context) error {
	if err := s.options.retry(ctx, s.list); err != nil {
		return fmt.Errorf("cannot list the set: %w", err)
	}
	return nil
}

func (s *Set) create(ctx context.Context) {
	e := element{name: s.newName(), call: time.Since(s.started)}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: e.name, Labels: map[string]string{setLabel: s.name}}}
	err := request(ctx, s.options.Pick, s.options.Timeout, func(ctx context.Context, client kubernetes.Interface) error {
		created, err := client.CoreV1().ConfigMaps(s.options.Namespace).Create(ctx, object, metav1.CreateOptions{})
		if err == nil {
			e.version = versionOf(created)
		}
		return err
	})
	e.back, e.outcome = time.Since(s.started), outcomeOf(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.elements = append(s.elements, e)
}

func (s *Set) newName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return fmt.Sprintf("%s-%d", s.name, s.next)
}

// list lists the set with the guarantees of a read from the store.
func (s *Set) list(ctx context.Context, client kubernetes.Interface) error {
	l := list{names: map[string]bool{}, call: time.Since(s.started)}
	answer, err := client.CoreV1().ConfigMaps(s.options.Namespace).List(ctx, metav1.ListOptions{LabelSelector: setLabel + "=" + s.name})
	if err != nil {
		return err
	}
	l.back, l.version = time.Since(s.started), versionOf(answer)
	for i := range answer.Items {
		l.names[answer.Items[i].Name] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists = append(s.lists, l)
	return nil
}

// Outcomes returns how many creates had which outcome so far.
func (s *Set) Outcomes() Outcomes {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum Outcomes
	for _, e := range s.elements {
		sum.add(e.outcome)
	}
	return sum
}

// Check returns an error if a list has elements that it must not have, or lacks some that
// were acknowledged before it began.
func (s *Set) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lists) == 0 {
		return errors.New("the set was never listed")
	}
	for _, l := range s.lists {
		if err := l.check(s.elements); err != nil {
			return err
		}
	}
	return nil
}

func (l list) check(elements []element) error {
	var lost, wrong int
	var newest uint64
	var example string
	for _, e := range elements {
		before := e.back < l.call
		if before {
			newest = max(newest, e.version)
		}
		switch listed := l.names[e.name]; {
		case !listed && before && e.outcome == acknowledged:
			lost, example = lost+1, e.name
		case listed && (e.call > l.back || e.outcome == failed):
			wrong, example = wrong+1, e.name
		}
	}
	if lost+wrong > 0 {
		return fmt.Errorf("the list at %.4f s lacks %d acknowledged elements and has %d that cannot exist, as %s",
			l.call.Seconds(), lost, wrong, example)
	}
	if l.version < newest {
		return fmt.Errorf("the list at %.4f s has resourceVersion %d, after %d was acknowledged", l.call.Seconds(), l.version, newest)
	}
	return nil
}
