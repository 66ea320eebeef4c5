package app

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
)

// Parts of a process, as the flag --parts names them.
const (
	partAPI         = "api"
	partControllers = "controllers"
	partSyncer      = "syncer"
	partScheduler   = "scheduler"
)

// loopbackAddress is where a process serves an API that is for itself.
const loopbackAddress = "127.0.0.1"

// allParts returns the parts of a process that has all of them.
func allParts() []string { return append([]string{partAPI}, leaderParts()...) }

// leaderParts returns the parts of a process that serves nobody. They belong together: they
// share their caches and the election.
func leaderParts() []string { return []string{partControllers, partSyncer, partScheduler} }

// parts returns the parts in alphabetical order.
func (o *Options) parts() []string {
	if len(o.Parts) == 0 {
		return slices.Sorted(slices.Values(allParts()))
	}
	return slices.Sorted(slices.Values(o.Parts))
}

// checkParts returns an error if the parts cannot run alone.
func (o *Options) checkParts() error {
	for _, possible := range [][]string{allParts(), {partAPI}, leaderParts()} {
		if slices.Equal(o.parts(), slices.Sorted(slices.Values(possible))) {
			return nil
		}
	}
	return fmt.Errorf("--parts: %s cannot run alone; use %s, or %s, or leave the flag out",
		strings.Join(o.Parts, ","), partAPI, strings.Join(leaderParts(), ","))
}

// servesAPI reports whether the process serves the API and DNS to others.
func (o *Options) servesAPI() bool { return slices.Contains(o.parts(), partAPI) }

// canLead reports whether the process competes for the lease of the leader.
func (o *Options) canLead() bool { return slices.Contains(o.parts(), partControllers) }

// isSplit reports whether another process runs the other parts.
func (o *Options) isSplit() bool { return !o.servesAPI() || !o.canLead() }

// checkSplit returns an error if the store is inside of a process, and the other parts are in
// another one.
func checkSplit(options Options, values *v1alpha1.Config) error {
	if store := &values.ControlPlane.BackingStore; options.isSplit() && !store.IsShared() {
		return fmt.Errorf("--parts: %s needs a store that processes share, such as %s, and the store is %s",
			strings.Join(options.Parts, ","), v1alpha1.StoreExternalEtcd, store.Store())
	}
	return nil
}

// advertiseAddress returns the address at which pods reach the API. It is that of the loopback
// interface if they must not.
func (o *Options) advertiseAddress() net.IP {
	if !o.servesAPI() {
		return net.ParseIP(loopbackAddress)
	}
	return net.ParseIP(cmp.Or(o.AdvertiseAddress, o.BindAddress))
}

// withoutLeaderParts returns the parts that every replica runs.
func withoutLeaderParts(parts []lifecycle.Part) []lifecycle.Part {
	return slices.DeleteFunc(parts, func(p lifecycle.Part) bool { return p.Leader })
}
