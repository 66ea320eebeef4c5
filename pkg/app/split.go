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

// Values of the flag --parts.
const (
	partAPI         = "api"
	partControllers = "controllers"
	partSyncer      = "syncer"
	partScheduler   = "scheduler"
)

// loopbackAddress is the address of an API server that only the own process uses.
const loopbackAddress = "127.0.0.1"

// allParts returns all parts. A process runs them unless --parts selects some.
func allParts() []string { return append([]string{partAPI}, leaderParts()...) }

// leaderParts returns the parts that only the leader runs. They cannot be split further, because
// they share caches and one election.
func leaderParts() []string { return []string{partControllers, partSyncer, partScheduler} }

// parts returns the selected parts in alphabetical order.
func (o *Options) parts() []string {
	if len(o.Parts) == 0 {
		return slices.Sorted(slices.Values(allParts()))
	}
	return slices.Sorted(slices.Values(o.Parts))
}

// checkParts returns an error if the selected parts cannot run in a process.
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

// canLead reports whether the process takes part in the leader election.
func (o *Options) canLead() bool { return slices.Contains(o.parts(), partControllers) }

// isSplit reports whether other processes run some of the parts.
func (o *Options) isSplit() bool { return !o.servesAPI() || !o.canLead() }

// checkSplit returns an error if the parts are split, but the store is inside one process.
func checkSplit(options Options, values *v1alpha1.Config) error {
	if store := &values.ControlPlane.BackingStore; options.isSplit() && !store.IsShared() {
		return fmt.Errorf("--parts: %s needs a store that processes share, such as %s, and the store is %s",
			strings.Join(options.Parts, ","), v1alpha1.StoreExternalEtcd, store.Store())
	}
	return nil
}

// advertiseAddress returns the IP address at which pods reach the API server. It is a loopback
// address if this process does not serve the API.
func (o *Options) advertiseAddress() net.IP {
	if !o.servesAPI() {
		return net.ParseIP(loopbackAddress)
	}
	return net.ParseIP(cmp.Or(o.AdvertiseAddress, o.BindAddress))
}

// withoutLeaderParts removes the parts that only the leader runs.
func withoutLeaderParts(parts []lifecycle.Part) []lifecycle.Part {
	return slices.DeleteFunc(parts, func(p lifecycle.Part) bool { return p.Leader })
}
