// Package translate says what a virtual object is called on the host and what
// its copy there looks like: names, labels, selectors, references and pod specs.
//
// Everything in it is a pure function: no client, no clock, no state. What a
// function needs to know of the cluster comes in as an argument, so that the same
// input gives the same output after a restart, on another replica and in a test.
package translate
