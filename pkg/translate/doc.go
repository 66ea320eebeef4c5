// Package translate defines the host copy of a virtual object: its name, labels, selectors
// and references. For pods it also defines the spec, the status and the state.
//
// Everything in it is a pure function: no client, no clock, no state. Arguments bring what
// a function needs to know of the cluster. The same input gives the same output after a
// restart, on another replica and in a test.
package translate
