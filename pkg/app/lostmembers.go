package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// forceSetting is the setting by which an operator makes one member the only member of the store.
const forceSetting = "controlPlane.backingStore.etcd.embedded.forceNewCluster"

var (
	errForceRequested = errors.New("restarting as the only member of the store")
	errUnlisted       = errors.New("restarting to join the members of the store again")
)

// reportMembers puts the replica on standby while it waits for other members of the store.
func (a *builtApp) reportMembers(reason string) {
	if strings.HasPrefix(reason, storage.NoMajority) {
		reason += fmt.Sprintf(". If they are lost for good, make this replica the only member, without what it has not got yet: "+
			"helm upgrade %s CHART --namespace %s --reuse-values --set %s=%s",
			a.names.Name, a.names.Namespace, forceSetting, forceValue(a.options.identity().Pod, a.members.generation))
	}
	if reason == a.members.reported {
		return
	}
	a.members.reported = reason
	a.reportStore(reason)
	if reason != "" {
		klog.InfoS("Waiting for the members of the store", "reason", reason)
	}
}

// forceMember reports whether the operator has made this pod the only member. It first writes
// that decision to the record. So it takes effect only once, and the other pods join as new
// members.
func (a *builtApp) forceMember(ctx context.Context, pod string) bool {
	setting := a.values.ControlPlane.BackingStore.Etcd.Embedded.ForceNewCluster
	if setting == "" && a.facts.Members.Forcing != pod || !a.members.etcd.HasMember() {
		return false
	}
	record, err := a.members.record.Update(ctx, func(record host.Members) (host.Members, error) {
		if record.Forcing == "" && record.Has(pod) && setting == forceValue(pod, record.Generation) {
			return host.Members{Generation: record.Generation + 1, Pods: []string{pod}, Forcing: pod}, nil
		}
		return record, nil
	})
	if err != nil {
		klog.ErrorS(err, "Cannot use the setting, continuing without it", "setting", forceSetting)
		return false
	}
	a.facts.Members, a.members.generation = record, record.Generation
	if record.Forcing == pod {
		klog.InfoS("Making this replica the only member of the store, as the operator has set", "setting", forceSetting, "pod", pod)
	}
	return record.Forcing == pod
}

// forceValue returns the value of the setting that makes a pod the only member. It contains the
// generation of the record, so that an old value has no effect later.
func forceValue(pod string, generation int64) string { return fmt.Sprintf("%s/%d", pod, generation) }

// reviewMembers returns an error if a start that waits for other members must begin again,
// because the operator has changed the setting or the record.
func (a *builtApp) reviewMembers(ctx context.Context) error {
	values, err := config.Load(a.options.ConfigFile, kinds.Settings()...)
	if err == nil && values.ControlPlane.BackingStore.Etcd.Embedded.ForceNewCluster == forceValue(a.options.identity().Pod, a.members.generation) {
		return errForceRequested
	}
	return a.reviewRecord(ctx)
}

// reviewRecord returns an error if the operator has forced a list of members without this
// replica since the start.
func (a *builtApp) reviewRecord(ctx context.Context) error {
	record, err := a.members.record.Update(ctx, func(record host.Members) (host.Members, error) { return record, nil })
	if err != nil {
		return nil //nolint:nilerr // The host does not respond, so nothing can have changed there.
	}
	if record.Generation > a.members.generation && !record.Has(a.options.identity().Pod) {
		return errUnlisted
	}
	return nil
}
