package consistency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// registerCount is the number of registers. Fewer have more clients at the same time,
// and longer histories to check.
const registerCount = 5

// valueKey is the key of the value in a register.
const valueKey = "value"

// noValue is the value of a register that does not exist or has no number. Nobody
// writes it, so no history with it is good.
const noValue = -1

// Registers is a workload of ConfigMaps with one value each.
type Registers struct {
	options Options
	started time.Time

	mu        sync.Mutex
	nextValue int
	history   []registerOperation
}

// registerOperation is one request to a register and its answer. Every value is written
// once at most, so a value is also a version.
type registerOperation struct {
	register   int
	client     int
	kind       registerKind
	from, to   int // to is the value that was read or written
	outcome    outcome
	version    uint64 // resourceVersion of the answer, 0 if unknown
	call, back time.Duration
}

type registerKind int

const (
	readRegister registerKind = iota
	writeRegister
	swapRegister
)

// NewRegisters returns a workload that has not started.
func NewRegisters(o Options) *Registers {
	return &Registers{options: o.withDefaults(), started: time.Now()}
}

// Prepare creates the registers with the value 0.
func (r *Registers) Prepare(ctx context.Context) error {
	for register := range registerCount {
		err := r.options.retry(ctx, func(ctx context.Context, client kubernetes.Interface) error {
			_, err := client.CoreV1().ConfigMaps(r.options.Namespace).Create(ctx, newRegister(register, 0, ""), metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot create register %d: %w", register, err)
		}
	}
	return nil
}

func newRegister(register, value int, version string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: registerName(register), ResourceVersion: version},
		Data:       map[string]string{valueKey: strconv.Itoa(value)},
	}
}

func registerName(register int) string { return "register-" + strconv.Itoa(register) }

// Run runs the clients until ctx ends.
func (r *Registers) Run(ctx context.Context) {
	// Each client swaps what it has read last.
	seen := make([][registerCount]*corev1.ConfigMap, r.options.Clients)
	r.options.run(ctx, func(ctx context.Context, client int, random *rand.Rand) {
		register := random.IntN(registerCount)
		last := &seen[client][register]
		o := registerOperation{register: register, client: client}
		switch dice := random.IntN(10); {
		case *last == nil || dice < 5:
			o.kind = readRegister
			*last = r.read(ctx, o)
		case dice < 8:
			o.kind = swapRegister
			*last = r.write(ctx, o, *last)
		default:
			o.kind = writeRegister
			*last = r.write(ctx, o, nil)
		}
	})
}

// read reads a register from the store, and returns it unless that failed.
func (r *Registers) read(ctx context.Context, o registerOperation) *corev1.ConfigMap {
	var got *corev1.ConfigMap
	o.call = time.Since(r.started)
	err := request(ctx, r.options.Pick, r.options.Timeout, func(ctx context.Context, client kubernetes.Interface) error {
		var err error
		got, err = client.CoreV1().ConfigMaps(r.options.Namespace).Get(ctx, registerName(o.register), metav1.GetOptions{})
		return err
	})
	o.back = time.Since(r.started)
	switch {
	case apierrors.IsNotFound(err):
		o.to = noValue
	case err != nil:
		return nil
	default:
		o.to, o.version = valueOf(got), versionOf(got)
	}
	r.record(o)
	return got
}

// write writes a new value, of the version that was seen unless that is nil. It returns
// the register as the answer has it, nil if there was none.
func (r *Registers) write(ctx context.Context, o registerOperation, seen *corev1.ConfigMap) *corev1.ConfigMap {
	version := ""
	if seen != nil {
		version, o.from = seen.ResourceVersion, valueOf(seen)
	}
	o.to = r.newValue()
	var got *corev1.ConfigMap
	o.call = time.Since(r.started)
	err := request(ctx, r.options.Pick, r.options.Timeout, func(ctx context.Context, client kubernetes.Interface) error {
		var err error
		got, err = client.CoreV1().ConfigMaps(r.options.Namespace).Update(ctx, newRegister(o.register, o.to, version), metav1.UpdateOptions{})
		return err
	})
	o.back, o.outcome = time.Since(r.started), outcomeOf(err)
	if o.outcome == acknowledged {
		o.version = versionOf(got)
	}
	switch {
	case apierrors.IsNotFound(err):
		r.record(registerOperation{register: o.register, client: o.client, to: noValue, call: o.call, back: o.back})
	case o.kind == writeRegister && o.outcome == conflicted:
		// The API server gave up: it had no effect.
	case o.outcome != failed:
		r.record(o)
	}
	if err != nil {
		return nil
	}
	return got
}

func (r *Registers) newValue() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextValue++
	return r.nextValue
}

func (r *Registers) record(o registerOperation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, o)
}

// Outcomes returns how many writes had which outcome so far.
func (r *Registers) Outcomes() Outcomes {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum Outcomes
	for _, o := range r.history {
		if o.kind != readRegister {
			sum.add(o.outcome)
		}
	}
	return sum
}

// Check returns an error unless the history is linearizable and no register has gone back
// to an earlier resourceVersion. It gives up after the time limit, with an error.
func (r *Registers) Check(limit time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for register := range registerCount {
		history := slices.DeleteFunc(slices.Clone(r.history), func(o registerOperation) bool { return o.register != register })
		if err := checkRegister(history, limit/registerCount); err != nil {
			errs = append(errs, fmt.Errorf("register %d: %w", register, err))
		}
	}
	return errors.Join(errs...)
}

// checkRegister checks the history of one register.
func checkRegister(history []registerOperation, limit time.Duration) error {
	var operations []porcupine.Operation
	for _, o := range history {
		back := o.back
		if o.outcome == unknown {
			back = forever
		}
		operations = append(operations, porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.call), Return: int64(back)})
	}
	switch porcupine.CheckOperationsTimeout(registerModel(), operations, limit) {
	case porcupine.Ok:
		return checkVersions(history)
	case porcupine.Illegal:
		return fmt.Errorf("%d operations are not linearizable:\n%s", len(history), format(history))
	case porcupine.Unknown:
	}
	return fmt.Errorf("%d operations cannot be checked within %v", len(history), limit)
}

// forever is when requests end that were never answered.
const forever = time.Duration(1<<63 - 1)

// registerModel returns what a register does with one request after the other. A swap
// without an answer takes effect if it meets its version. One that never took effect is
// the same as one after all others.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, _ any) (bool, any) {
			value, o := state.(int), input.(registerOperation) //nolint:forcetypeassert // The model makes both.
			switch {
			case o.kind == readRegister:
				return value == o.to, value
			case o.kind == writeRegister:
				return true, o.to
			case o.outcome == acknowledged:
				return value == o.from, o.to
			case o.outcome == conflicted:
				return value != o.from, value
			case value == o.from:
				return true, o.to
			}
			return true, value
		},
	}
}

// checkVersions checks that a request which began after the answer to another never has
// an older resourceVersion.
func checkVersions(history []registerOperation) error {
	known := slices.DeleteFunc(slices.Clone(history), func(o registerOperation) bool { return o.version == 0 })
	byCall := slices.SortedFunc(slices.Values(known), func(a, b registerOperation) int { return int(a.call - b.call) })
	byBack := slices.SortedFunc(slices.Values(known), func(a, b registerOperation) int { return int(a.back - b.back) })
	var newest registerOperation
	next := 0
	for _, o := range byCall {
		for ; next < len(byBack) && byBack[next].back < o.call; next++ {
			if byBack[next].version > newest.version {
				newest = byBack[next]
			}
		}
		if o.version < newest.version {
			return fmt.Errorf("resourceVersion went back from %d to %d:\n%s", newest.version, o.version, format([]registerOperation{newest, o}))
		}
	}
	return nil
}

func valueOf(register *corev1.ConfigMap) int {
	value, err := strconv.Atoi(register.Data[valueKey])
	if err != nil {
		return noValue
	}
	return value
}
