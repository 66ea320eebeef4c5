// Package patches connects the operator's patches, which package patch compiles, with the kinds
// of the sync engine.
package patches
