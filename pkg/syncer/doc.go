// Package syncer is the engine that keeps two clusters in step: the virtual one
// that a tenant sees and the host that owns the real nodes.
//
// A kind is a value, a [Resource]: pure functions that say which objects have a
// copy on the other side and what the copy looks like. The [Engine] does the
// rest, the same way for every kind:
//
//   - Watches of both sides put virtual keys into the queue of a kind
//     (runner.go). The watches are shared between kinds and go away with the
//     last kind that needs them (watches.go).
//   - A reconcile looks at both sides as they are and takes the step that is
//     missing (virtualowned.go, hostowned.go). It remembers nothing that it
//     could not do without: expectations only save requests (expectations.go).
//   - Differences become requests in one place (write.go), and nothing that did
//     not change is written.
//   - Only what proves to be ours is changed or deleted, and only after a look
//     at the API server itself, not at a cache, when the reason for a delete is
//     that something is not there.
//
// Two guards stand before the host. The breaker (hostbreaker.go) notices that the host
// cannot be reached, holds all requests back and lets them go on when it can be
// reached again: nothing fails, nothing is deleted. The store guard (storeguard.go) holds
// every delete back when the virtual store is not the one that the release
// recorded, or is older than it was.
package syncer
