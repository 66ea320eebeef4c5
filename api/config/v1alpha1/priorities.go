package v1alpha1

import (
	"cmp"
	"slices"
	"strconv"
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
