package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Pulse is a client that writes one ConfigMap again and again. It measures how long writes
// take, and for how long none succeeds.
type Pulse struct {
	options Options
	name    string

	mu     sync.Mutex
	beats  []time.Time
	delays []time.Duration
}

// NewPulse returns a client that writes the ConfigMap of the name. A write without an
// answer is sent again after the options' Timeout, so that bounds what is measured.
func NewPulse(name string, o Options) *Pulse {
	o.Clients = 1
	return &Pulse{options: o.withDefaults(), name: name}
}

// Prepare creates the ConfigMap.
func (p *Pulse) Prepare(ctx context.Context) error {
	err := p.options.retry(ctx, func(ctx context.Context, client kubernetes.Interface) error {
		_, err := client.CoreV1().ConfigMaps(p.options.Namespace).Create(ctx, p.object(0), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot create ConfigMap %s: %w", p.name, err)
	}
	return nil
}

func (p *Pulse) object(number int) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: p.name}, Data: map[string]string{valueKey: strconv.Itoa(number)}}
}

// Run writes until ctx ends.
func (p *Pulse) Run(ctx context.Context) {
	p.mu.Lock()
	p.beats = append(p.beats, time.Now())
	p.mu.Unlock()
	number := 0
	p.options.run(ctx, func(ctx context.Context, _ int, _ *rand.Rand) {
		number++
		begun := time.Now()
		err := request(ctx, p.options.Pick, p.options.Timeout, func(ctx context.Context, client kubernetes.Interface) error {
			_, err := client.CoreV1().ConfigMaps(p.options.Namespace).Update(ctx, p.object(number), metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.beats, p.delays = append(p.beats, time.Now()), append(p.delays, time.Since(begun))
	})
}

// LongestGap returns the longest time without a success that ended after a moment.
func (p *Pulse) LongestGap(since time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := time.Duration(0)
	for i := 1; i < len(p.beats); i++ {
		if p.beats[i].After(since) {
			longest = max(longest, p.beats[i].Sub(p.beats[i-1]))
		}
	}
	if n := len(p.beats); n > 0 {
		longest = max(longest, time.Since(p.beats[n-1]))
	}
	return longest
}

// Delays returns how long each acknowledged write took.
func (p *Pulse) Delays() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.delays)
}
