package requestmemory

import (
	"context"
	"io"
)

// bodyFactor is how many times the size of its body a request needs in memory. It has the body, the decoded
// object, copies for admission, and the stored value.
const bodyFactor = 4

// accountKey is the context key of the account of a request.
type accountKey struct{}

// accountOf returns the account of the request of a context, nil for none.
func accountOf(ctx context.Context) *Account {
	account, _ := ctx.Value(accountKey{}).(*Account)
	return account
}

// WithAccount returns a context whose reads are added to an account.
func WithAccount(ctx context.Context, account *Account) context.Context {
	return context.WithValue(ctx, accountKey{}, account)
}

// WithWatchAccount returns a context for a watch. What it reads is added until the watcher has got it.
func WithWatchAccount(ctx context.Context, account *Account) context.Context {
	account.stream = &stream{account: account, delivered: make(chan struct{}, 1)}
	return WithAccount(ctx, account)
}

// TryAdd adds size bytes to the account of the request of a context until the request ends. It reports whether the budget
// allows that now. Without an account it always does.
func TryAdd(ctx context.Context, size int64) bool {
	account := accountOf(ctx)
	return account == nil || account.tryAdd(size)
}

// Add does what TryAdd does, after a delay if necessary. It returns a status with code 429 if the delay would be too long.
func Add(ctx context.Context, size int64) error {
	account := accountOf(ctx)
	if account == nil {
		return nil
	}
	return account.add(ctx, size)
}

// Body returns a body that is added to the account while it is read. isCustom specifies that the
// object is a custom resource, which takes several times the memory.
func (a *Account) Body(ctx context.Context, inner io.ReadCloser, isCustom bool) io.ReadCloser {
	b := &body{ReadCloser: inner, ctx: ctx, account: a, factor: bodyFactor}
	if isCustom {
		b.factor *= jsonFactor
	}
	return b
}

// body is a body that is added to an account.
type body struct {
	io.ReadCloser
	ctx     context.Context //nolint:containedctx // It is the request's, and io.Reader has none.
	account *Account
	factor  int64
}

// Read implements io.Reader. It waits if the budget does not allow it now.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if err := b.account.add(b.ctx, b.factor*int64(n)); err != nil {
			return 0, err
		}
	}
	return n, err
}
