// Package kinds contains every kind that Sublet syncs. Each is one file with a pure
// [syncer.Resource], and one row of [Table].
//
// Everything else about a kind is derived from the two: its settings, its permissions in
// the chart and its documentation. A new kind is one file, one row and its golden cases in
// testdata.
//
// Originals of the tenant (pods, services, claims and others) are copied into the one host
// namespace of the release, under a hashed name. Only their status returns. Originals of
// the host (nodes, storage classes, events, volumes) are copied to the virtual cluster. An
// annotation of the copy names the UID of the host object.
package kinds
