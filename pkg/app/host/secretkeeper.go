package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
)

const (
	// updateBurst is how many updates of a Secret may follow each other at once.
	updateBurst = 10
	// updatePeriod is the time between further updates of a Secret. What a tenant does to a service account must not become a
	// flood of writes to the host.
	updatePeriod = time.Minute
)

// errTooManyUpdates delays an update of a Secret.
var errTooManyUpdates = fmt.Errorf("the content changes too often, the next update is up to %s later", updatePeriod)

// clockCheck is the longest time between two comparisons of a Secret's expiry with the clock,
// because somebody may change the clock.
const clockCheck = 10 * time.Minute

// WantSecret decides what a Secret of the release must contain. It may also implement
// OnChange(func()) to request another decision, and Observe(*corev1.Secret) to see the Secret on
// followers.
type WantSecret interface {
	// Want returns the desired Secret, nil if current is up to date. current is nil if there
	// is no Secret. Want is called again after requeueAfter, unless that is 0.
	Want(ctx context.Context, current *corev1.Secret) (wanted *corev1.Secret, requeueAfter time.Duration, err error)
}

// SecretKeeper keeps one Secret of the release up to date. It watches the Secret and writes it
// again when it is deleted or changed. It runs on every replica, but only the leader writes.
type SecretKeeper struct {
	// Client reaches the host.
	Client kubernetes.Interface
	// Namespace and Name are those of the Secret.
	Namespace, Name string
	// OfChart is true for a Secret that the chart creates and deletes, in any namespace. The
	// keeper then only writes its data and labels.
	OfChart bool
	// Unowned is true for a Secret that outlives the release. It gets no owner, and is only written if it does not exist.
	Unowned bool
	// Holder has the owner reference of the Secret, and allows the leader to write.
	Holder *Holder
	// Desired decides what the Secret must contain.
	Desired WantSecret
	// CheckName is the name of the check in /syncz.
	CheckName string
	// Clock is the time.
	Clock clock.Clock

	mu sync.Mutex
	// current is the last seen or written Secret, nil if it does not exist. It is valid once
	// shown, the number of observations of the watch, is above 0.
	current *corev1.Secret
	shown   int
	// updates limits the updates of the Secret. It is made on the first one.
	updates *rate.Limiter
	// lastError is the last error, empty if nothing failed since.
	lastError string
}

// Run keeps the Secret up to date until ctx ends. It retries while the host does not respond.
func (k *SecretKeeper) Run(ctx context.Context) error {
	signals := make(chan struct{}, 1)
	signal := func() {
		select {
		case signals <- struct{}{}:
		default:
		}
	}
	// The watch of the Secret does not show a new anchor or a change of leadership.
	k.Holder.OnChange(signal)
	if source, ok := k.Desired.(interface{ OnChange(f func()) }); ok {
		source.OnChange(signal)
	}
	secrets := &singleWatch[*corev1.Secret]{
		reader: k.Client.CoreV1().Secrets(k.Namespace), name: k.Name, clock: k.Clock, failed: k.recordError,
		changed: func(current *corev1.Secret) error {
			k.recordShown(current)
			signal()
			return nil
		},
	}
	var group errgroup.Group
	group.Go(func() error { secrets.run(ctx); return nil })
	group.Go(func() error { k.keep(ctx, signals); return nil })
	return group.Wait()
}

// keep calls ensure at each signal, and when the content must be renewed.
func (k *SecretKeeper) keep(ctx context.Context, signals <-chan struct{}) {
	backoff := newBackoff()
	var due <-chan time.Time
	var failure error // the last one of the host, which is the reason of those that follow
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		case <-due:
		}
		next, err := k.ensure(ctx)
		switch {
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			next = backoff.Step() // The watch will soon show the newer Secret.
		case errors.Is(err, errTooManyUpdates):
			next = updatePeriod
			k.recordError(errors.Join(err, failure))
		case err != nil:
			next, failure = backoff.Step(), err
			k.recordError(err)
		default:
			backoff, failure = newBackoff(), nil
		}
		due = nil
		if next > 0 {
			due = k.Clock.After(min(next, clockCheck))
		}
	}
}

// ensure writes the Secret if it is not up to date. It returns when to call it again, 0 for only
// after the next signal.
func (k *SecretKeeper) ensure(ctx context.Context) (time.Duration, error) {
	current, shown := k.getCurrent()
	if shown == 0 {
		return 0, nil
	}
	if k.Holder.MayLead() != nil {
		k.observe(current)
		return 0, nil //nolint:nilerr // The leader writes the Secret.
	}
	if current == nil && k.OfChart {
		return 0, fmt.Errorf("host Secret %s/%s does not exist: \"helm upgrade\" creates it", k.Namespace, k.Name)
	}
	owner := k.Holder.AnchorOwner()
	wanted, requeueAfter, err := k.Desired.Want(ctx, current)
	if err != nil {
		return 0, err
	}
	if wanted == nil {
		if k.OfChart || k.Unowned || isOwnedBy(current, owner) {
			k.recordError(nil)
			return requeueAfter, nil
		}
		wanted = current
	}
	written, err := k.write(ctx, current, wanted, owner)
	if err != nil {
		return 0, err
	}
	k.setWritten(written, shown)
	k.recordError(nil)
	return requeueAfter, nil
}

// observe passes the Secret to Desired on a follower, which does not write it.
func (k *SecretKeeper) observe(current *corev1.Secret) {
	if observer, ok := k.Desired.(interface{ Observe(current *corev1.Secret) }); ok && current != nil {
		observer.Observe(current)
	}
}

// write creates the Secret, or updates the data, labels and owner of current.
func (k *SecretKeeper) write(ctx context.Context, current, wanted *corev1.Secret, owner metav1.OwnerReference) (*corev1.Secret, error) {
	secrets := k.Client.CoreV1().Secrets(k.Namespace)
	if current == nil {
		if !k.Unowned {
			wanted.OwnerReferences = []metav1.OwnerReference{owner}
		}
		created, err := secrets.Create(ctx, wanted, metav1.CreateOptions{})
		return created, wrap(err, "create host Secret %s/%s", k.Namespace, k.Name)
	}
	if !k.mayUpdate() {
		return nil, errTooManyUpdates
	}
	next := current.DeepCopy()
	next.Data = wanted.Data
	if !k.OfChart {
		next.OwnerReferences = []metav1.OwnerReference{owner}
	}
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, wanted.Labels)
	updated, err := secrets.Update(ctx, next, metav1.UpdateOptions{})
	return updated, wrap(err, "update host Secret %s/%s", k.Namespace, k.Name)
}

// mayUpdate reports whether the Secret may be updated now, and counts the update. Only one goroutine calls it.
func (k *SecretKeeper) mayUpdate() bool {
	if k.updates == nil {
		k.updates = rate.NewLimiter(rate.Every(updatePeriod), updateBurst)
	}
	return k.updates.AllowN(k.Clock.Now(), 1)
}

// isOwnedBy reports whether owner is the only owner of the Secret.
func isOwnedBy(secret *corev1.Secret, owner metav1.OwnerReference) bool {
	return secret != nil && len(secret.OwnerReferences) == 1 && secret.OwnerReferences[0].UID == owner.UID
}

// Checks returns the health of the Secret.
func (k *SecretKeeper) Checks() []syncz.Check {
	k.mu.Lock()
	defer k.mu.Unlock()
	check := syncz.Check{Name: k.CheckName, Healthy: true, Message: "The Secret is up to date."}
	if k.lastError != "" || k.shown == 0 {
		check.Healthy, check.Message = false, "Waiting for the host."
		check.Details = []string{cmp.Or(k.lastError, "not read yet")}
	}
	return []syncz.Check{check}
}

func (k *SecretKeeper) getCurrent() (current *corev1.Secret, shown int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current, k.shown
}

// recordShown records what the watch shows.
func (k *SecretKeeper) recordShown(current *corev1.Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = current
	k.shown++
}

// setWritten records the written Secret, unless the watch has shown something since shown was
// read. That may be the deletion of the written one.
func (k *SecretKeeper) setWritten(written *corev1.Secret, shown int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shown == shown {
		k.current = written
	}
}

// recordError keeps the last error for Checks. It logs only the first of consecutive errors.
func (k *SecretKeeper) recordError(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.lastError
	k.lastError = ""
	if err != nil {
		k.lastError = err.Error()
		if before == "" {
			klog.InfoS("Cannot keep a Secret of the release, retrying", "secret", k.Name, "err", err)
		}
	}
}
