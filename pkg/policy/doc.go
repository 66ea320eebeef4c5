// Package policy decides what a tenant may ask for. Its rules are pure: each reads an
// object and the settings, and returns the fields that are not allowed.
//
// There is one file per rule. The virtual API server asks at admission, so that a tenant
// reads the denial at once.
package policy
