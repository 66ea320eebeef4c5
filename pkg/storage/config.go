package storage

import (
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
)

const (
	// idleTick is the clock of raft for a member without peers. It has nobody to
	// send heartbeats to, and ticks wake an idle process. At a restart it elects
	// itself within two ticks; at the first start at once, see elect.
	idleTick          = 100 * time.Millisecond
	idleElectionTicks = 2

	// peerTick is the same for a member with peers: heartbeats to them, and an
	// election when ten of them are missing.
	peerTick          = 100 * time.Millisecond
	peerElectionTicks = 10

	// commitInterval is the time after which writes are committed to the file of
	// the database. They survive a crash before: they are in the raft log. The
	// default of 100 ms wakes an idle process ten times a second.
	commitInterval = 500 * time.Millisecond

	// fileSlack is the part of the quota by which the file may be larger than it: a
	// quarter. The file grows by more than what is written, until it is defragmented.
	fileSlack = 4

	// keptHistory is how long old revisions stay readable, for watches that
	// resume and lists that continue. It is the API server's own default.
	keptHistory = 5 * time.Minute

	// snapshotEvery and catchUp bound the raft log on disk and in memory, in
	// entries of up to 1.5 MiB each. The defaults keep 15,000 entries for slow
	// followers; there are none.
	snapshotEvery = 250
	catchUp       = 50
)

// serverConfig returns the configuration of the etcd server.
func (e *Etcd) serverConfig(logger *zap.Logger) (config.ServerConfig, error) {
	member := e.Member.withDefaults()
	urls, all, err := member.urls()
	if err != nil {
		return config.ServerConfig{}, err
	}
	e.quota = e.Quota
	if e.quota == 0 {
		e.quota = readLimits(e.Dir, e.VolumeSize, e.Reserve).quota()
	}
	tick, electionTicks := idleTick, idleElectionTicks
	if e.PeerListener != nil {
		tick, electionTicks = peerTick, peerElectionTicks
	}
	defaults := embed.NewConfig()
	return config.ServerConfig{
		Name:                member.Name,
		PeerURLs:            urls,
		ClientURLs:          urls,
		DataDir:             e.serverDir(),
		InitialPeerURLsMap:  all,
		InitialClusterToken: member.Token,
		NewCluster:          len(member.Join) == 0,

		TickMs:                     uint(tick.Milliseconds()), //nolint:gosec // a constant
		ElectionTicks:              electionTicks,
		InitialElectionTickAdvance: true,
		PreVote:                    true,

		SnapshotCount:          snapshotEvery,
		SnapshotCatchUpEntries: catchUp,
		MaxSnapFiles:           2,
		MaxWALFiles:            2,
		UnsafeNoFsync:          e.NoSync,

		BackendBatchInterval:    commitInterval,
		QuotaBackendBytes:       e.quota + e.quota/fileSlack,
		AutoCompactionMode:      embed.CompactorModePeriodic,
		AutoCompactionRetention: keptHistory,

		MaxTxnOps:                   defaults.MaxTxnOps,
		MaxRequestBytes:             defaults.MaxRequestBytes,
		MaxConcurrentStreams:        defaults.MaxConcurrentStreams,
		WarningApplyDuration:        defaults.WarningApplyDuration,
		WarningUnaryRequestDuration: defaults.WarningUnaryRequestDuration,
		DowngradeCheckTime:          time.Hour,
		CompactHashCheckTime:        defaults.CompactHashCheckTime,
		StrictReconfigCheck:         true,
		MaxLearners:                 defaults.MaxLearners,
		V2Deprecation:               defaults.V2DeprecationEffective(),
		BcryptCost:                  defaults.BcryptCost,
		ServerFeatureGate:           features.NewDefaultServerFeatureGate(member.Name, logger),
		Logger:                      logger,
		Metrics:                     defaults.Metrics,
	}, nil
}

// serverDir returns the folder of the etcd server.
func (e *Etcd) serverDir() string { return filepath.Join(e.Dir, "etcd") }
