package v1alpha1

import "strings"

// HighAvailability has the settings of several replicas of the control plane.
type HighAvailability struct {
	// Run as many replicas as the next setting specifies. If false, there is one replica.
	// Default: true
	Enabled bool `json:"enabled"`
	// Replicas of the control plane. All serve the API and DNS. One leader runs the controllers, the
	// syncer and the virtual scheduler.
	// Default: 1
	Replicas int32 `json:"replicas" min:"1" max:"99"`
	// How long a leader that no longer renews its lease stays the leader, in seconds. Another replica
	// takes over then. Must be more than renewDeadline.
	// Default: 3
	LeaseDuration int32 `json:"leaseDuration" min:"2" max:"3600"`
	// How long a leader tries to renew its lease before it stops leading, in seconds. Must be more
	// than 1.2 times retryPeriod.
	// Default: 2
	RenewDeadline int32 `json:"renewDeadline" min:"2" max:"3600"`
	// Time between two renewals of the lease, in seconds. Each is one write to the store.
	// Default: 1
	RetryPeriod int32 `json:"retryPeriod" min:"1" max:"3600"`
	// Keep the caches of the syncer on every replica, so that a new leader syncs at once. If false,
	// followers use less memory, and a new leader lists the objects of both clusters first.
	// Default: true
	StandbyCaches bool `json:"standbyCaches"`
}

// IsShared reports whether several replicas can use the store. Each replica has an embedded
// one of its own.
func (b *BackingStore) IsShared() bool {
	return !strings.HasSuffix(string(b.Store()), ".embedded")
}

// Count returns the number of replicas that the settings ask for.
func (h HighAvailability) Count() int {
	if !h.Enabled {
		return 1
	}
	return int(h.Replicas)
}

func defaultHighAvailability() HighAvailability {
	return HighAvailability{Enabled: true, Replicas: 1, LeaseDuration: 3, RenewDeadline: 2, RetryPeriod: 1, StandbyCaches: true}
}

// highAvailabilityCombinations returns the rules about several replicas.
func highAvailabilityCombinations() []Combination {
	const settings = "controlPlane.statefulSet.highAvailability."
	return []Combination{
		{
			Name: "replicas-of-embedded-etcd", Path: settings + "replicas",
			With:   []string{settings + "enabled"},
			Detail: "the store is " + backingStorePath + string(StoreEmbeddedEtcd) + ", whose members decide by majority; set this to 1, 3 or 5",
			Violated: func(c *Config) bool {
				count := c.ControlPlane.StatefulSet.HighAvailability.Count()
				return count != 1 && count != 3 && count != 5 && c.ControlPlane.BackingStore.Store() == StoreEmbeddedEtcd
			},
		},
		{
			Name: "lease-under-deadline", Path: settings + "leaseDuration",
			With:   []string{settings + "renewDeadline"},
			Detail: "is not more than " + settings + "renewDeadline, so two replicas could lead at once; raise this, or lower that",
			Violated: func(c *Config) bool {
				h := c.ControlPlane.StatefulSet.HighAvailability
				return h.LeaseDuration <= h.RenewDeadline
			},
		},
		{
			Name: "deadline-under-retry", Path: settings + "renewDeadline",
			With:   []string{settings + "retryPeriod"},
			Detail: "is not more than 1.2 times " + settings + "retryPeriod, so a leader could not renew in time; raise this, or lower that",
			Violated: func(c *Config) bool {
				h := c.ControlPlane.StatefulSet.HighAvailability
				return 10*int64(h.RenewDeadline) <= 12*int64(h.RetryPeriod)
			},
		},
	}
}
