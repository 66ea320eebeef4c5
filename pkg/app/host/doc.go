// Package host manages the objects of the release on the host cluster. It does not sync tenants'
// objects. It discovers the facts that a start needs, proves that this replica may serve, and
// keeps the Secrets of the release up to date.
//
//   - [Discovery] reads the facts, claims the anchor and restores a lost certs Secret.
//   - [Holder] watches the anchor and fences this replica once it has a successor.
//   - [SecretKeeper] watches one Secret and writes it again after it was deleted or changed.
//
// The watches cause no periodic requests. Only [Address] polls, if the settings make kubeconfigs
// follow the address of the Service.
package host
