// Package translate defines the host copy of a virtual object: its name, labels, selectors
// and references. For pods it also defines the spec, the status and the state.
//
// All functions are pure: they have no client, no clock and no state, and get all that they
// need as arguments. So the result is the same after a restart and on every replica.
package translate
