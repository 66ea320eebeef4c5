package controlplane

import "context"

// IsLoopback reports whether a request comes from a client of this process. It does
// not depend on the user of the request, whom a tenant can impersonate.
func IsLoopback(ctx context.Context) bool {
	_, ok := identity(ctx)
	return ok
}
