package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// clockLag is the maximum difference to the clock of the host or of another replica.
const clockLag = 2 * time.Second

// showsEvents reports whether the events of the host are watched.
func (p *pods) showsEvents() bool { return p.options.Sync.IsEnabled("sync.fromHost.events") }

// termStart returns the time at which the syncer has started to lead.
func (p *pods) termStart() time.Time {
	if p.options.TermStart == nil {
		return time.Time{}
	}
	return p.options.TermStart()
}

// hasRunUnseen reports whether a host pod of a virtual pod was bound while no syncer ran. It may have
// run and be deleted since, without a trace in the virtual pod. The evidence is the Event of the
// host's scheduler, which by default exists for an hour. It costs no request.
//
// It is false for a pod that was created after the syncer started.
func (p *pods) hasRunUnseen(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	if !p.showsEvents() || virtual.CreationTimestamp.After(p.termStart().Add(clockLag)) ||
		translate.HasStarted(virtual, nil, p.options.usesVirtualScheduler(virtual)) {
		return false, nil
	}
	host := translate.Hashed(s.Cluster, types.NamespacedName{Namespace: virtual.Namespace, Name: virtual.Name})
	var found corev1.EventList
	err := s.Host.List(s.Context, &found, client.InNamespace(host.Namespace),
		client.MatchingFields{byInvolved: "Pod/" + host.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("cannot list events of host pod %s: %w", host, err)
	}
	for i := range found.Items {
		event := &found.Items[i]
		// An older one is about an earlier pod of this name.
		if event.Reason == scheduled && event.CreationTimestamp.After(virtual.CreationTimestamp.Add(-clockLag)) {
			return true, nil
		}
	}
	return false, nil
}
