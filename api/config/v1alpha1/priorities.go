package v1alpha1

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// PriorityClass is a priority class of the host for pods from a priority on.
type PriorityClass struct {
	// From is the lowest priority of a pod that gets the class.
	From int32
	// Name is the name of the class on the host.
	Name string
}

// HostPriorityClasses returns the entries of priorityClasses, sorted by priority. The settings
// must be valid.
func (p Pods) HostPriorityClasses() []PriorityClass {
	classes := make([]PriorityClass, 0, len(p.PriorityClasses))
	for text, name := range p.PriorityClasses {
		from, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			continue
		}
		classes = append(classes, PriorityClass{From: int32(from), Name: name})
	}
	slices.SortFunc(classes, func(a, b PriorityClass) int { return cmp.Compare(a.From, b.From) })
	return classes
}

// isPriority reports whether a text is a priority of a pod.
func isPriority(text string) bool {
	_, err := strconv.ParseInt(text, 10, 32)
	return err == nil
}

// systemClassPrefix begins the names of priority classes that Kubernetes reserves. It accepts no other
// class with a value above 1,000,000,000.
const systemClassPrefix = "system-"

// priorityCombinations returns the rules about priority classes of the tenant's pods.
func priorityCombinations() []Combination {
	const detail = "the classes of system- are above all that Kubernetes lets others have, and their pods would preempt those of the host; " +
		"name a class with a value of at most 1000000000"
	const single, byPriority = "sync.toHost.pods.priorityClassName", "sync.toHost.pods.priorityClasses"
	return []Combination{{
		Name: "system-priority", Path: single, Detail: detail,
		Violated: func(c *Config) bool {
			return strings.HasPrefix(c.Sync.ToHost.Pods.PriorityClassName, systemClassPrefix)
		},
	}, {
		Name: "system-priorities", Path: byPriority, Detail: detail,
		Violated: func(c *Config) bool {
			return slices.ContainsFunc(slices.Collect(maps.Values(c.Sync.ToHost.Pods.PriorityClasses)), func(name string) bool {
				return strings.HasPrefix(name, systemClassPrefix)
			})
		},
	}}
}
