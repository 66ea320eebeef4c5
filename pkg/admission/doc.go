// Package admission contains the admission plugins that Sublet adds to the virtual API server. They
// enforce the operator's policies, deny changes of what the host owns, and write to the host
// before the virtual object is stored.
//
// A plugin that writes to the host must run last, when nothing else can deny the request.
package admission
