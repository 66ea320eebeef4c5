// Package egress tests that a tenant cannot make the virtual API server connect to anything
// but their own pods. Each feature of the API server that opens a connection is pointed at
// a listener which must never see one. What the tenant reads instead is in testdata.
package egress
