// Package customresources copies definitions of custom resources from the host. It starts and
// stops the kinds that sync their objects. For a kind that an aggregated API of the host
// serves, it makes the definition from discovery and an OpenAPI document.
//
// [Definitions] runs on every replica: admission asks it for the plan of a kind.
// [Controller] runs for one term of the leader. It alone writes definitions.
package customresources
