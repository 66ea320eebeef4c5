package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// moveFromSetting is the setting that moves a store.
const moveFromSetting = "controlPlane.backingStore.moveFrom"

// Served is a Backend that opens only as the one store of its virtual cluster. It
// refuses a half copy, a store that was moved away, and an empty one in place of another.
type Served struct {
	storage.Backend

	// Location names the store, as in [Store].
	Location string
	// Recorded returns the location of the store that served last, empty if that is not
	// known. Default: it is not known.
	Recorded func() string
	// By is this replica.
	By string
	// Clock is the time. Default: the real one.
	Clock clock.PassiveClock
	// Mover moves the store before it opens. Default: nothing is moved.
	Mover *Mover
	// Waiter waits while the store is refused or cannot be moved.
	Waiter storage.Waiter

	client   *clientv3.Client
	restore  string
	revision int64
	opened   chan struct{}
}

// NewServed returns a backend for the one store of a virtual cluster.
func NewServed(backend storage.Backend, location string) *Served {
	return &Served{Backend: backend, Location: location, opened: make(chan struct{})}
}

// Opened returns a channel that is closed once the store has opened.
func (s *Served) Opened() <-chan struct{} { return s.opened }

// Restore returns the ID of the last restore that the content of the opened store comes from,
// empty if it comes from none.
func (s *Served) Restore() string { return s.restore }

// Revision returns the revision of the store when it was opened, before this process has written to it. It
// is 0 before.
func (s *Served) Revision() int64 { return s.revision }

// systemKey is a key that each store of a virtual cluster has.
const systemKey = contentPrefix + "namespaces/kube-system"

// CurrentRevision returns the revision that the store has now, 0 before it is open. Only a store that somebody has put back to
// an earlier state has a lower one than before. It is 1 for one that was emptied.
func (s *Served) CurrentRevision(ctx context.Context) (int64, error) {
	select {
	case <-s.opened:
	default:
		return 0, nil
	}
	// kine answers from memory for a key that does not exist.
	got, err := s.client.Get(ctx, systemKey, clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	if len(got.Kvs) == 0 {
		return 1, nil
	}
	return got.Header.Revision, nil
}

// Start moves the store if it has to, and opens it.
func (s *Served) Start(ctx context.Context) (*kubernetes.Client, error) {
	if s.Mover != nil {
		if err := s.Waiter.Retry(ctx, s.move); err != nil {
			return nil, err
		}
	}
	s.Waiter.Reset()
	client, err := s.Backend.Start(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Waiter.Retry(ctx, func(ctx context.Context) error { return s.admit(ctx, client.Client) }); err != nil {
		return nil, err
	}
	s.client = client.Client
	close(s.opened)
	return client, nil
}

// move moves the store, unless that was done before. The source must be the store
// that served last.
func (s *Served) move(ctx context.Context) error {
	from := s.Mover.Source.Location
	if recorded := s.recorded(); recorded != "" && recorded != from && recorded != s.Location {
		return fmt.Errorf("cannot move from %s: the store of this virtual cluster is %s; set %s to it", from, recorded, moveFromSetting)
	}
	_, err := s.Mover.Run(ctx)
	return err
}

func (s *Served) now() time.Time {
	if s.Clock == nil {
		s.Clock = clock.RealClock{}
	}
	return s.Clock.Now()
}

// RunFence watches the mark of the store until ctx ends. It returns a *MovingError as soon
// as another replica moves the store: this one must not write any more.
func (s *Served) RunFence(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.opened:
	}
	for ctx.Err() == nil {
		got, err := s.client.Get(ctx, markKey)
		if err != nil {
			// A store that is away takes no writes either.
			select {
			case <-ctx.Done():
			case <-time.After(fenceRetry): //nolint:forbidigo // the pause before the next attempt
			}
			continue
		}
		if len(got.Kvs) > 0 {
			return &MovingError{Location: s.Location}
		}
		watching, stop := context.WithCancel(ctx)
		for response := range s.client.Watch(clientv3.WithRequireLeader(watching), markKey, clientv3.WithRev(got.Header.Revision+1)) {
			if response.Err() != nil || len(response.Events) > 0 {
				break
			}
		}
		stop()
	}
	return nil
}

// fenceRetry is the time between two attempts to watch the mark.
const fenceRetry = time.Second

// MovingError is the reason to stop when another replica moves the store.
type MovingError struct {
	// Location is the store that is moved.
	Location string
}

func (e *MovingError) Error() string {
	return "another replica moves " + e.Location + " to another store"
}

func (s *Served) recorded() string {
	if s.Recorded == nil {
		return ""
	}
	return s.Recorded()
}

// admit returns why the store must not be served, nil if it may. It takes back the mark
// of a move that was not decided: whoever opens the store has gone back to it.
func (s *Served) admit(ctx context.Context, client *clientv3.Client) error {
	found, err := s.readAllowed(ctx, client)
	if err != nil {
		return err
	}
	s.restore, s.revision = found.restore(), found.revision
	if found.mark == nil {
		return nil
	}
	if found.mark.isHeldByOther(s.By, s.now()) {
		return fmt.Errorf("waiting for %s, which moves %s to %s", found.mark.By, s.Location, found.mark.To)
	}
	klog.InfoS("A move of the store was not finished, taking it back", "to", found.mark.To, "by", found.mark.By)
	if err := deleteAtRevision(ctx, client, markKey, found.markRevision); err != nil && !errors.Is(err, errConflict) {
		return err
	}
	_, err = s.readAllowed(ctx, client) // The move may have been decided meanwhile.
	return err
}

// readAllowed reads the state of the store. It returns an error if the store must not be served.
func (s *Served) readAllowed(ctx context.Context, client *clientv3.Client) (*state, error) {
	found, err := readState(ctx, client)
	if err != nil {
		return nil, err
	}
	return found, s.refusal(found)
}

// refusal returns why a store in the given state must not be served.
func (s *Served) refusal(found *state) error {
	switch {
	case found.mark != nil && found.mark.Phase == PhaseMoved:
		return fmt.Errorf("%s was moved to %s on %s and is out of date. Set the backing store to that one, or set %s to it to move back",
			s.Location, found.mark.To, found.mark.Time.Format(timeFormat), moveFromSetting)
	case found.record != nil && found.record.Phase != PhaseDone && found.record.isOfRestore():
		return fmt.Errorf("the restore into %s from a %s is not finished. Repeat it with the same backup, or empty the store",
			s.Location, found.record.From)
	case found.record != nil && found.record.Phase != PhaseDone:
		return fmt.Errorf("a move from %s to %s is not finished. Set %s to %s again, or set the backing store back to it",
			found.record.From, s.Location, moveFromSetting, found.record.From)
	case found.keys == 0:
		if recorded := s.recorded(); recorded != "" && recorded != s.Location {
			return fmt.Errorf("%s is empty, and the virtual cluster is in %s. Set %s to that one to move it, or set the backing store back",
				s.Location, recorded, moveFromSetting)
		}
	}
	return nil
}

// timeFormat is how messages show a time.
const timeFormat = "2006-01-02 15:04 MST"
