// Package admission contains the admission plugins that Sublet adds to the virtual
// API server. They let a write reach the host before the virtual object is stored,
// and deny what the host owns.
//
// Each plugin must be the last one that changes objects of its kind. It writes to the
// host only what nothing else can deny any more.
package admission
