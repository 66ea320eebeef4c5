// Package patches runs the operator's patches in the engine.
package patches
