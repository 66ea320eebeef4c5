// Package custom decides how custom resources cross between the two clusters. It builds the
// definition for the virtual cluster, and finds what fields refer to. It is pure.
//
// A [Plan] is compiled from the schema of a kind and the operator's rules. It finds what a
// tenant's object refers to, denies what may leave the tenant, and renames the rest for the
// host. It does not know what the controllers of the host do with a field. A reference that
// looks like any other text passes unless the operator declares it.
package custom
