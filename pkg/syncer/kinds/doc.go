// Package kinds contains all kinds that Sublet syncs. A kind is one file with a pure
// [syncer.Resource], and one row in [Table].
//
// Its settings, its permissions in the chart and its documentation are derived from these
// two. A new kind is one file, one row and its golden cases in testdata.
//
// Originals of the tenant, such as pods, Services and claims, are copied into the host namespace
// of the release, under a hashed name. Their status is copied back. Originals of the host,
// such as nodes, storage classes and Events, are copied to the virtual cluster. An annotation
// of such a copy has the UID of the host object.
package kinds
