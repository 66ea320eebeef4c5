// Package customresources syncs the custom resources that the settings select. It copies their
// CustomResourceDefinitions from the host, and adds and drops the kinds of the engine that sync
// their objects. If an aggregated API of the host serves a kind, the package builds the
// definition from discovery and the OpenAPI document.
//
// [Definitions] runs on every replica: admission uses it to get the plan of a kind. [Controller]
// runs for one term of the leader. Only it writes definitions.
package customresources
