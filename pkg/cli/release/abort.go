package release

import "context"

// abortable returns what call returns. If ctx ends before, it returns the error of ctx, and forgets the call. It is
// for requests of Helm that only read: they do not end with a context.
func abortable[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		value, err := call()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
