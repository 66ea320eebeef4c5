// Package consistency checks a Kubernetes API for lost, stale and reordered writes, as
// Jepsen does. Several clients write and read the same objects while a test breaks
// things. What they have seen is checked afterwards.
//
// [Registers] are ConfigMaps whose values are read, written and compared and swapped by
// their resourceVersion. Their history must be linearizable. [Set] is a set of
// ConfigMaps that only grows. No acknowledged element may be missing in a later list.
// [Watches] are clients that watch the set. They must get each element once, in order.
//
// A request without an answer may have taken effect, at once, later or never. The checks
// assume nothing else about it.
package consistency
