package storage

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
)

const (
	// tick is the interval of raft: that of heartbeats to other members. A lone member sends
	// none, but each tick wakes an idle process, so it has a longer interval. A start does not
	// wait for ticks, see elect.
	tick     = 100 * time.Millisecond
	loneTick = 500 * time.Millisecond
	// electionTimeout is how long a leader may be silent before there is an election. It must be
	// the same for all members, because a member that has heard of a leader does not vote.
	electionTimeout = time.Second

	// commitInterval is the time after which writes are committed to the database file. They
	// survive a crash before that, because they are in the raft log. The default of 100 ms
	// would wake an idle process ten times per second.
	commitInterval = 500 * time.Millisecond

	// fileSlack is the divisor of the quota by which the file may be larger than the quota: a
	// quarter. Until it is defragmented, the file grows by more than what is written.
	fileSlack = 4

	// keptHistory is how long old revisions stay readable, for watches that
	// resume and lists that continue. It is the API server's own default.
	keptHistory = 5 * time.Minute

	// snapshotEvery and catchUp bound the raft log on disk and in memory, in
	// entries of up to 1.5 MiB each. A follower that has missed more than the log
	// has gets a copy of the database instead.
	snapshotEvery = 250
	catchUp       = 50
	// catchUpPeers is catchUp for a member that has peers. It is enough for what is written
	// during a short restart of a peer.
	catchUpPeers = 250

	// hashCheck is the time between two comparisons of the members' hashes. Each
	// compaction leaves one, and they come as often.
	hashCheck = keptHistory
)

// setQuota sets the quota of the start, and returns the largest one that it may become.
func (e *Etcd) setQuota() (largest int64) {
	if e.memory == nil {
		e.memory = func() int64 { return memoryLimit("/") }
	}
	if e.Quota != 0 {
		e.quota.Store(e.Quota)
		return e.Quota
	}
	e.limits = readLimits(e.Dir, e.VolumeSize, e.Reserve)
	e.limits.memory = e.memory()
	e.quota.Store(e.limits.quota())
	return e.limits.ceiling()
}

// serverConfig returns the configuration of the etcd server.
func (e *Etcd) serverConfig(logger *zap.Logger) (config.ServerConfig, error) {
	member := e.Member.withDefaults()
	urls, all, err := member.urls()
	if err != nil {
		return config.ServerConfig{}, err
	}
	largest := e.setQuota()
	gate, err := newFeatureGate(member.Name, logger)
	if err != nil {
		return config.ServerConfig{}, err
	}
	tick, kept := tick, uint64(catchUp)
	if e.Lone {
		tick = loneTick
	}
	if len(e.Known.Others) > 0 {
		kept = catchUpPeers
	}
	defaults := embed.NewConfig()
	return config.ServerConfig{
		Name:                member.Name,
		PeerURLs:            urls,
		ClientURLs:          urls,
		DataDir:             e.serverDir(),
		InitialPeerURLsMap:  all,
		InitialClusterToken: member.Token,
		NewCluster:          len(member.join) == 0,

		TickMs:                     uint(tick / time.Millisecond),
		ElectionTicks:              int(cmp.Or(e.electionTimeout, electionTimeout) / tick),
		InitialElectionTickAdvance: true,
		PreVote:                    true,
		PeerTLSInfo:                e.peerTLSInfo(),
		ForceNewCluster:            e.ForceNew,

		SnapshotCount:          snapshotEvery,
		SnapshotCatchUpEntries: kept,
		MaxSnapFiles:           2,
		MaxWALFiles:            2,
		UnsafeNoFsync:          e.NoSync,

		BackendBatchInterval:    commitInterval,
		QuotaBackendBytes:       largest + largest/fileSlack,
		AutoCompactionMode:      embed.CompactorModePeriodic,
		AutoCompactionRetention: keptHistory,

		MaxTxnOps:                   defaults.MaxTxnOps,
		MaxRequestBytes:             defaults.MaxRequestBytes,
		MaxConcurrentStreams:        defaults.MaxConcurrentStreams,
		WarningApplyDuration:        defaults.WarningApplyDuration,
		WarningUnaryRequestDuration: defaults.WarningUnaryRequestDuration,
		DowngradeCheckTime:          time.Hour,
		CompactHashCheckTime:        hashCheck,
		StrictReconfigCheck:         true,
		MaxLearners:                 defaults.MaxLearners,
		V2Deprecation:               defaults.V2DeprecationEffective(),
		BcryptCost:                  defaults.BcryptCost,
		ServerFeatureGate:           gate,
		Logger:                      logger,
		Metrics:                     defaults.Metrics,
	}, nil
}

// newFeatureGate returns etcd's features, with its corruption checks.
func newFeatureGate(name string, logger *zap.Logger) (featuregate.FeatureGate, error) {
	gate := featuregate.New(name, logger)
	err := errors.Join(gate.Add(features.DefaultEtcdServerFeatureGates), gate.SetFromMap(map[string]bool{
		string(features.InitialCorruptCheck): true,
		string(features.CompactHashCheck):    true,
	}))
	if err != nil {
		return nil, fmt.Errorf("cannot switch on the corruption checks of the database: %w", err)
	}
	return gate, nil
}

// serverDir returns the folder of the etcd server.
func (e *Etcd) serverDir() string { return filepath.Join(e.Dir, "etcd") }
