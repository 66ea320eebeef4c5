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

// report puts the replica on standby while it waits for other members of the store.
func (m *members) report(reason string) {
	if strings.HasPrefix(reason, storage.NoMajority) {
		reason += fmt.Sprintf(". If they are lost for good, make this replica the only member, without what it has not got yet: "+
			"helm upgrade %s CHART --namespace %s --reset-then-reuse-values --set %s=%s",
			m.names.Name, m.names.Namespace, forceSetting, forceValue(m.options.identity().Pod, m.generation))
	}
	if reason == m.reported {
		return
	}
	m.reported = reason
	m.reportStore(reason)
	if reason != "" {
		klog.InfoS("Waiting for the members of the store", "reason", reason)
	}
}

// force reports whether the operator has made this pod the only member. It first writes
// that decision to the record. So it takes effect only once, and the other pods join as new
// members.
func (m *members) force(ctx context.Context, pod string) bool {
	setting := m.values.ControlPlane.BackingStore.Etcd.Embedded.ForceNewCluster
	if setting == "" && m.facts.Members.Forcing != pod || !m.etcd.HasMember() {
		return false
	}
	record, err := m.record.Update(ctx, func(record host.Members) (host.Members, error) {
		if record.Forcing == "" && record.Has(pod) && setting == forceValue(pod, record.Generation) {
			return host.Members{Generation: record.Generation + 1, Pods: []string{pod}, Forcing: pod}, nil
		}
		return record, nil
	})
	if err != nil {
		klog.ErrorS(err, "Cannot use the setting, continuing without it", "setting", forceSetting)
		return false
	}
	m.facts.Members, m.generation = record, record.Generation
	if record.Forcing == pod {
		klog.InfoS("Making this replica the only member of the store, as the operator has set", "setting", forceSetting, "pod", pod)
	}
	return record.Forcing == pod
}

// forceValue returns the value of the setting that makes a pod the only member. It contains the
// generation of the record, so that an old value has no effect later.
func forceValue(pod string, generation int64) string { return fmt.Sprintf("%s/%d", pod, generation) }

// review returns an error if a start that waits for other members must begin again,
// because the operator has changed the setting or the record.
func (m *members) review(ctx context.Context) error {
	values, err := config.Load(m.options.ConfigFile, kinds.Settings()...)
	if err == nil && values.ControlPlane.BackingStore.Etcd.Embedded.ForceNewCluster == forceValue(m.options.identity().Pod, m.generation) {
		return errForceRequested
	}
	return m.reviewRecord(ctx)
}

// reviewRecord returns an error if the operator has forced a list of members without this
// replica since the start.
func (m *members) reviewRecord(ctx context.Context) error {
	record, err := m.record.Update(ctx, func(record host.Members) (host.Members, error) { return record, nil })
	if err != nil {
		return nil //nolint:nilerr // The host does not respond, so nothing can have changed there.
	}
	if record.Generation > m.generation && !record.Has(m.options.identity().Pod) {
		return errUnlisted
	}
	return nil
}
