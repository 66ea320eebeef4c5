// Package host manages the release itself on the host; it syncs nothing. It
// discovers the facts that a start needs, proves that this replica may serve, and
// keeps the Secrets of the release right.
//
//   - [Discovery] reads the facts, claims the anchor and restores lost keys.
//   - [Holder] watches the anchor and fences this replica when it has a successor.
//   - [SecretKeeper] watches one Secret and writes it again when it is deleted or
//     changed.
//
// Nothing here polls: while nothing happens, the host gets watches and no other
// request.
package host
