package lifecycle

import (
	"context"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// leaseVersions is a client of leases that remembers the resource version of the last read
// lease. The record of a lease is not enough to recognize a renewal. Its times have whole
// seconds and come from the holder's clock, which may have stopped.
type leaseVersions struct {
	coordinationclient.LeasesGetter

	mu      sync.Mutex
	version string
}

// Leases implements LeasesGetter.
func (v *leaseVersions) Leases(namespace string) coordinationclient.LeaseInterface {
	return &versionedLease{v.LeasesGetter.Leases(namespace), v}
}

// lastRead returns the resource version of the last read lease.
func (v *leaseVersions) lastRead() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.version
}

func (v *leaseVersions) set(version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.version = version
}

// versionedLease is the client of one namespace.
type versionedLease struct {
	coordinationclient.LeaseInterface
	versions *leaseVersions
}

// Get implements LeaseInterface.
func (l *versionedLease) Get(ctx context.Context, name string, options metav1.GetOptions) (*coordinationv1.Lease, error) {
	lease, err := l.LeaseInterface.Get(ctx, name, options)
	if err == nil {
		l.versions.set(lease.ResourceVersion)
	}
	return lease, err //nolint:wrapcheck // resourcelock compares it
}
