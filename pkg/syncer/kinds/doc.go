// Package kinds holds every kind that Sublet syncs: one file per kind, each a
// pure [syncer.Resource] that says what a copy looks like, and one row per kind
// in the table.
//
// What must be known of a kind outside of it is generated from [Table]: the
// rights in the chart's Role and ClusterRole, the reference page of kinds and the
// set of kinds that a running server starts for its settings. A new kind is one
// file, one row and its golden cases in testdata.
//
// A kind of the host (nodes, storage classes, events, volumes) is one whose truth
// is there; its virtual copies bear the annotation of their host object. A kind of
// the tenant (pods, services, claims, …) is copied into the one host namespace of
// the release, under a hashed name, and only its status comes back.
package kinds
