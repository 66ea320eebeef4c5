// Package syncer keeps two clusters in step: the virtual one that a tenant sees, and
// the host that owns the real nodes.
//
// A kind is a value, a [Resource]. Its pure functions decide which objects have a
// copy on the other side, and fill in the copy. The [Engine] does the
// rest, the same way for every kind:
//
//   - Watches of both sides put virtual keys into the queue of a kind
//     (handler.go, runner.go). The watches are shared between kinds and end with
//     the last kind that needs them (watches.go). A watch that fails is seen
//     (watchhealth.go), and so is one that misses something (livecompare.go).
//   - A reconcile looks at both sides as they are and takes the step that is
//     missing (virtualowned.go, hostowned.go, orphans.go, termination.go). What it
//     remembers only saves requests and time (expectations.go, sightings.go).
//   - Differences become requests in two places (hostwrite.go, virtualwrite.go).
//     Nothing that did not change is written.
//   - Only what proves to be ours is changed or deleted. Where the reason of a delete
//     is that the other object is missing, the engine needs proof. Proof is a live
//     read of the other side, or the event of that deletion.
//
// Three things are between the engine and its host. The breaker (hostbreaker.go)
// notices that the host is away and pauses all requests until it answers: nothing
// fails, nothing is deleted. The limiter (hostlimiter.go) bounds what one virtual
// cluster sends. The store guard (storeguard.go) puts deletes on hold while the
// virtual store is not the recorded one, or is older than it was.
package syncer
