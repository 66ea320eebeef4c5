// Package syncer keeps two clusters in step: the virtual one that a tenant sees, and
// the host that owns the real nodes.
//
// A kind is a value, a [Resource]. Its pure functions decide which objects have a
// copy on the other side, and fill in the copy. The [Engine] does the
// rest, the same way for every kind:
//
//   - Watches of both sides put virtual keys into the queue of a kind
//     (handler.go, runner.go). The watches are shared between kinds and end with
//     the last kind that needs them (watches.go). Watches that fail or miss changes
//     are detected (watchhealth.go, livecompare.go).
//   - A reconcile compares both sides and takes the next step (virtualowned.go,
//     hostowned.go, orphans.go, termination.go). State that it keeps in memory only
//     saves requests and time (expectations.go, sightings.go).
//   - Differences become requests in two places (hostwrite.go, virtualwrite.go).
//     Without a difference, no request is sent.
//   - The engine only changes and deletes objects that prove to be ours. It deletes an
//     object because its counterpart is missing only after proof of that: a live read,
//     or the delete event of the counterpart.
//
// Three things protect the host. The breaker (hostbreaker.go) detects that the host is
// unreachable and pauses all requests until it answers. The limiter (hostlimiter.go)
// limits the rate of requests of one virtual cluster. The store guard (storeguard.go)
// puts deletes on hold while the virtual store is not the recorded one, or is older.
package syncer
