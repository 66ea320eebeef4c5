package v1alpha1

import (
	"slices"
	"time"

	"github.com/robfig/cron/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Backup has the settings of scheduled backups of the store.
type Backup struct {
	// Write the content of the store to a file in the claim RELEASE-backup, on a schedule. A file has the
	// tenant's Secrets, encrypted only if controlPlane.advanced.encryption is on.
	// Default: false
	Enabled bool `json:"enabled"`
	// When backups are due, in the format of cron and in UTC. A missed one is made up for.
	// Default: 0 3 * * *
	Schedule string `json:"schedule" format:"cron"`
	// Number of backups to keep. Older ones are deleted once a newer one is complete.
	// Default: 7
	Keep int32 `json:"keep" min:"1" max:"1000"`
	// Backup that an empty store is filled from at the start: the name of a file in the claim, or latest.
	// A store with content is never changed. Remove it after the start.
	// Default: ""
	RestoreFrom string `json:"restoreFrom" format:"backup-file,optional"`
	// PersistentVolumeClaim RELEASE-backup.
	VolumeClaim BackupClaim `json:"volumeClaim"`
}

// BackupClaim has the settings of the PersistentVolumeClaim of the backups.
type BackupClaim struct {
	// Storage request of the claim.
	// Default: 10Gi
	Size resource.Quantity `json:"size"`
	// StorageClass of the host. Empty means the default class of the host.
	// Default: ""
	StorageClass string `json:"storageClass" format:"object-name,optional"`
	// Access modes of the claim. Several replicas need ReadWriteMany: each mounts it.
	// Default: [ReadWriteOnce]
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes" enum:"ReadWriteOnce,ReadWriteOncePod,ReadWriteMany" unique:"true"`
	// Whether "helm uninstall" deletes the claim.
	// Default: Retain
	RetentionPolicy string `json:"retentionPolicy" enum:"Delete,Retain"`
}

func defaultBackup() Backup {
	return Backup{Schedule: "0 3 * * *", Keep: 7, VolumeClaim: BackupClaim{
		Size: resource.MustParse("10Gi"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, RetentionPolicy: "Retain",
	}}
}

// isNever reports whether a schedule has no time at all, as February 30 has none.
func isNever(schedule cron.Schedule) bool {
	return schedule.Next(time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero()
}

// backupCombinations returns the rules of the backups.
func backupCombinations() []Combination {
	const claim = backingStorePath + "backup.volumeClaim."
	const replicas = "controlPlane.statefulSet.highAvailability.replicas"
	const several = replicas + " or " + autoscalingPath + "maxReplicas is more than 1"
	const writers = replicas + ", " + autoscalingPath + "maxReplicas or " + splitPath + "replicas is more than 1"
	return []Combination{
		{
			Name: "backup-never", Path: backingStorePath + "backup.schedule",
			Detail: "no backup would ever be due, or a number is out of its range; set one such as 0 3 * * *",
			Violated: func(c *Config) bool {
				schedule, err := cron.ParseStandard(c.ControlPlane.BackingStore.Backup.Schedule)
				return err == nil && isNever(schedule)
			},
		},
		{
			Name: "backup-of-replicas", Path: claim + "accessModes",
			With: []string{backingStorePath + "backup.enabled", replicas, autoscalingPath + "maxReplicas", splitPath + "replicas"},
			Detail: writers + ", and each replica mounts the claim of the backups; " +
				"set [ReadWriteMany] and a storageClass that has it",
			Violated: func(c *Config) bool {
				b := c.ControlPlane.BackingStore.Backup
				return b.Enabled && c.ControlPlane.BackupReplicas() > 1 &&
					!slices.Contains(b.VolumeClaim.AccessModes, corev1.ReadWriteMany)
			},
		},
		{
			Name: "restore-without-backup", Path: backingStorePath + "backup.restoreFrom",
			With:   []string{backingStorePath + "backup.enabled"},
			Detail: backingStorePath + "backup.enabled is false, so there is no claim to restore from; set that to true, or leave this out",
			Violated: func(c *Config) bool {
				b := c.ControlPlane.BackingStore.Backup
				return !b.Enabled && b.RestoreFrom != ""
			},
		},
		{
			Name: "restore-of-replicas", Path: backingStorePath + "backup.restoreFrom",
			With:   []string{replicas, autoscalingPath + "maxReplicas"},
			Detail: several + ", and one replica alone restores; set that to 1, and raise it after the start",
			Violated: func(c *Config) bool {
				return c.ControlPlane.BackingStore.Backup.RestoreFrom != "" && c.ControlPlane.StatefulSet.MaxReplicas() > 1
			},
		},
		{
			Name: "no-backup-size", Path: claim + "size",
			Detail: "must be more than nothing, such as 10Gi",
			Violated: func(c *Config) bool {
				return c.ControlPlane.BackingStore.Backup.VolumeClaim.Size.Sign() <= 0
			},
		},
		{
			Name: "no-backup-access-mode", Path: claim + "accessModes",
			Detail: "a claim needs at least one mode; set [ReadWriteOnce]",
			Violated: func(c *Config) bool {
				return len(c.ControlPlane.BackingStore.Backup.VolumeClaim.AccessModes) == 0
			},
		},
	}
}
